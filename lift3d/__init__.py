"""Lift any 2D vision model to 3D-consistent answers on any posed multi-view scene.

The public names, those of ``__init__.pyi``, are imported when they are first used: importing ``lift3d`` costs nothing.
"""

import os
import sys
from typing import Any

import lazy_loader

# Read when PyTorch is loaded. Its threads would else spin while they wait for each other: beside other work, three
# times as long a wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_import, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        # Python adds the nearest name that there is.
        raise AttributeError(f"module 'lift3d' has no attribute '{name}'", name=name, obj=sys.modules[__name__])
    from lift3d.messages import loading

    with loading():
        return _import(name)
