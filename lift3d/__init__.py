"""Lift any 2D vision model to 3D-consistent answers on any posed multi-view scene.

The public names, those of ``__init__.pyi``, are imported when they are first used: importing ``lift3d`` costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
