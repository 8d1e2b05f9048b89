"""The points of a PLY file: the positions of its vertices and nothing else."""

import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from plyfile import PlyData, PlyParseError
from torch import Tensor

from lift3d.errors import SceneFormatError
from lift3d.scenes.file_limits import require_bytes

# A splat for each of ten million points.
_MAX_BYTES = 4 * 2**30
_HEADER_BYTES = 2**16


def read_ply_points(path: Path) -> Float[Tensor, "point 3"]:
    """Read x, y, z of the vertices; points that are not finite are left out.

    SceneFormatError if the file is no PLY, has no such vertices, ends early, or is larger than any such file.
    """
    try:
        require_bytes(path, _MAX_BYTES)
        with path.open("rb") as stream:
            # plyfile takes memory for what the header promises; no row is shorter than a byte.
            rows = re.findall(rb"^element\s+\S+\s+(\d+)", stream.read(_HEADER_BYTES), re.MULTILINE)
            if sum(map(int, rows)) > path.stat().st_size:
                raise ValueError(f"it promises {sum(map(int, rows))} rows and is too short for them")
        vertices = PlyData.read(str(path))["vertex"]
        xyz = np.stack([vertices[axis] for axis in "xyz"], axis=-1).astype(np.float64)
    except (OSError, ValueError, TypeError, KeyError, MemoryError, OverflowError, PlyParseError) as error:
        raise SceneFormatError(f"Point file '{path}' is malformed: {error}. Write it again.") from error
    return torch.from_numpy(xyz[np.isfinite(xyz).all(axis=1)])
