"""The points of a PLY file: the positions of its vertices and nothing else."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.errors import SceneFormatError

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_MAX_HEADER_LINES = 200
_MAX_LINE_BYTES = 1000


def read_ply_points(path: Path) -> Float[Tensor, "point 3"]:
    """Read x, y, z of the vertices; points that are not finite are left out.

    Raises:
        SceneFormatError: If the file is no PLY, its vertices are not its first element, or it ends early.
    """
    try:
        with path.open("rb") as stream:
            order, count, fields = _read_header(stream, path)
            xyz = _read_vertices(stream, order, count, fields)
    except (OSError, ValueError) as error:
        raise SceneFormatError(f"Point file '{path}' is malformed: {error}.") from error
    if len(xyz) != count:
        raise SceneFormatError(f"Point file '{path}' promises {count} vertices and holds {len(xyz)}.")
    return torch.from_numpy(xyz[np.isfinite(xyz).all(axis=1)].astype(np.float64))


def _read_header(stream: BinaryIO, path: Path) -> tuple[str, int, list[tuple[str, str]]]:
    """Return the byte order ('' for text), the vertex count and the vertex's fields."""
    order, count, element = None, 0, ""
    fields: list[tuple[str, str]] = []
    for number in range(_MAX_HEADER_LINES):
        words = stream.readline(_MAX_LINE_BYTES).decode("ascii", "replace").split()
        if number == 0 and words != ["ply"]:
            raise ValueError("it does not begin with 'ply'")
        match words:
            case ["format", name, *_]:
                order = _ORDERS.get(name)
            case ["element", name, digits]:
                if name != "vertex" and not fields and int(digits) > 0:
                    raise ValueError(f"element '{name}' comes before the vertices")
                element, count = name, int(digits) if name == "vertex" else count
            case ["property", "list", *_] if element == "vertex":
                raise ValueError("its vertices have lists")
            case ["property", kind, name] if element == "vertex":
                if kind not in _TYPES:
                    raise ValueError(f"property '{name}' has the unknown type '{kind}'")
                fields.append((name, _TYPES[kind]))
            case ["end_header"]:
                break
    if order is None or not {"x", "y", "z"} <= {name for name, _ in fields}:
        raise ValueError("its header names no known format, or its vertices have no x, y and z")
    return order, count, fields


def _read_vertices(stream: BinaryIO, order: str, count: int, fields: list[tuple[str, str]]) -> np.ndarray:
    names = [name for name, _ in fields]
    if order == "":
        if count == 0:
            return np.empty((0, 3))
        columns = [names.index(axis) for axis in "xyz"]
        return np.loadtxt(stream, usecols=columns, max_rows=count, ndmin=2)
    row = np.dtype([(name, order + kind) for name, kind in fields])
    # Reading as bytes takes no more memory than the file, whatever the header promises.
    content = stream.read(row.itemsize * count) if count < 2**31 else stream.read()
    vertices = np.frombuffer(content, row, count=len(content) // row.itemsize)[:count]
    return np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], axis=-1)
