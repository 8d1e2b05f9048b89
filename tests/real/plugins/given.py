"""What the plug-ins take from the folder LIFT3D_TEST_DATA: weights, and the interpreter of networks kept as .npz."""

import os
import runpy
from pathlib import Path
from typing import Any

from lift3d.errors import ConfigError


def model_file(name: str) -> Path:
    """Return where a file of weights lies."""
    root = os.environ.get("LIFT3D_TEST_DATA")
    if not root:
        raise ConfigError("LIFT3D_TEST_DATA is not set; it must name the folder with models/ and tools/.")
    return Path(root) / "models" / name


def npz_graph(weights: Path) -> Any:
    """Return a network that can be run up to any of its operations."""
    return runpy.run_path(str(weights.parents[2] / "tools" / "npz_graph.py"))["NpzGraph"](str(weights))
