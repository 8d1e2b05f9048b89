"""PLY files: points, meshes and splats. What a header promises is held against the file's bytes before it is read."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from plyfile import PlyData, PlyParseError
from torch import Tensor

from lift3d.errors import SceneFormatError
from lift3d.scenes.file_limits import require_bytes

PlyKind = Literal["mesh", "splats", "points"]

# A splat for each of ten million points.
MAX_BYTES = 4 * 2**30
_HEADER_BYTES = 2**16
_BYTES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "float", "int32", "uint32", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}
# Of a number in text: a digit and what ends it.
_TEXT_BYTES = 2
_CORNERS = ("vertex_indices", "vertex_index")
_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, MemoryError, OverflowError, PlyParseError)


def ply_kind(path: Path) -> PlyKind:
    """Return what a file holds by its header; SceneFormatError if it is no PLY."""
    with reading_ply(path):
        header = ply_header(path)
        if header.counts.get("face"):
            return "mesh"
        return "splats" if "opacity" in header.vertex and "scale_0" in header.vertex else "points"


def read_ply_points(path: Path) -> Float[Tensor, "point 3"]:
    """Read x, y, z of the vertices; points that are not finite are left out.

    SceneFormatError if the file is no PLY, has no such vertices, ends early, or is larger than any such file.
    """
    with reading_ply(path):
        ply_header(path)
        xyz = vertex_columns(PlyData.read(str(path)), "xyz")
    return torch.as_tensor(xyz[np.isfinite(xyz).all(axis=1)])


def read_ply_mesh(path: Path) -> tuple[Float[Tensor, "vertex 3"], Int[Tensor, "triangle 3"]]:
    """Read the vertices of a mesh and its triangles (or quadrangles, halved); those that are not finite are left out.

    SceneFormatError as of points, or if it has no faces, others, or faces of vertices that are not there.
    """
    with reading_ply(path):
        header = ply_header(path)
        if not header.counts.get("face"):
            raise ValueError("it has no faces, so it is no mesh; a cloud is read by the method points")
        data, faces = _with_faces(path, _CORNERS["vertex_index" in header.face])
        xyz = vertex_columns(data, "xyz")
        if len(faces) and not 0 <= faces.min() <= faces.max() < len(xyz):
            raise ValueError(f"its faces name vertices from {faces.min()} to {faces.max()} of {len(xyz)}")
    triangles = np.concatenate([faces[:, [0, one - 1, one]] for one in range(2, faces.shape[1])]).astype(np.int64)
    triangles = triangles[np.isfinite(xyz).all(axis=1)[triangles].all(axis=1)]
    return torch.as_tensor(xyz), torch.as_tensor(triangles)


@dataclass(frozen=True, slots=True)
class PlyHeader:
    """Rows by element, and the properties of vertices and faces."""

    counts: dict[str, int]
    vertex: tuple[str, ...]
    face: tuple[str, ...]


def ply_header(path: Path) -> PlyHeader:
    """Parse the header, and refuse one whose rows take more bytes than there are."""
    require_bytes(path, MAX_BYTES)
    with path.open("rb") as stream:
        head, end, _ = stream.read(_HEADER_BYTES).partition(b"end_header")
    if not head.startswith(b"ply") or not end:
        raise ValueError("it does not begin as a PLY does" if path.stat().st_size else "it is empty")
    is_text = re.search(rb"^format\s+ascii", head, re.MULTILINE) is not None
    counts, names, promised = dict[str, int](), dict[str, list[str]](), 0
    element, row_bytes = "", 0
    for words in map(str.split, re.split(r"[\r\n]+", head.decode("ascii", "replace"))):
        if words[:1] == ["element"]:
            element = words[1]
            counts[element], names[element], row_bytes = int(words[2]), [], 0
            # A row without properties is none, but tables are made of it.
            promised += counts[element]
        elif words[:1] == ["property"]:
            size = _TEXT_BYTES if is_text else _BYTES[words[2] if words[1] == "list" else words[1]]
            promised += counts[element] * (size - (not row_bytes))
            row_bytes += size
            names[element].append(words[-1])
    if promised > path.stat().st_size - len(head) - len(end):
        raise ValueError(f"it promises {promised} bytes of {sum(counts.values())} rows and is too short for them")
    return PlyHeader(counts, tuple(names.get("vertex", ())), tuple(names.get("face", ())))


def _with_faces(path: Path, corners: str) -> tuple[PlyData, Int[np.ndarray, "face corner"]]:
    """Read a file whose faces have all three corners, or all four: only such tables have a size that is known."""
    for count in (3, 4):
        try:
            data = PlyData.read(str(path), known_list_len={"face": {corners: count}})
            rows = data["face"][corners]
            faces = (rows if rows.ndim == 2 else np.stack(rows)).astype(np.int64)
        except (PlyParseError, ValueError):
            continue
        if faces.shape[1] == count:
            return data, faces
    raise ValueError("its faces are not all triangles, or all quadrangles; triangulate it, or it ends early")


def vertex_columns(data: PlyData, names: Sequence[str]) -> Float[np.ndarray, "vertex property"]:
    """Return properties of the vertices, in double precision."""
    return np.stack([data["vertex"][name] for name in names], axis=-1).astype(np.float64)


@contextmanager
def reading_ply(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into a SceneFormatError that names it."""
    try:
        yield
    except _ERRORS as error:
        raise SceneFormatError(f"'{path}' is not readable as PLY: {error}. Write it again.") from error
