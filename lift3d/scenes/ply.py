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
_SPLAT = ("opacity", *(f"scale_{axis}" for axis in range(3)), *(f"rot_{part}" for part in range(4)))
_CORNERS = ("vertex_indices", "vertex_index")
_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, MemoryError, OverflowError, PlyParseError)


@dataclass(frozen=True, slots=True, eq=False)
class Splats:
    """Gaussians of 3D Gaussian splatting, world coordinates; opacity in (0, 1).

    Scales are standard deviations along their own axes, which quaternions (w, x, y, z) of any length turn.

    Source:
        The files of Kerbl et al., 3D Gaussian splatting, SIGGRAPH 2023: logits of opacity, logarithms of scales.
    """

    xyz: Float[Tensor, "splat 3"]
    opacity: Float[Tensor, " splat"]
    scale: Float[Tensor, "splat 3"]
    rotation: Float[Tensor, "splat 4"]


def ply_kind(path: Path) -> PlyKind:
    """Return what a file holds by its header; SceneFormatError if it is no PLY."""
    with _reading(path):
        header = _header(path)
        if header.counts.get("face"):
            return "mesh"
        return "splats" if "opacity" in header.vertex and "scale_0" in header.vertex else "points"


def read_ply_points(path: Path) -> Float[Tensor, "point 3"]:
    """Read x, y, z of the vertices; points that are not finite are left out.

    SceneFormatError if the file is no PLY, has no such vertices, ends early, or is larger than any such file.
    """
    with _reading(path):
        _header(path)
        xyz = _columns(PlyData.read(str(path)), "xyz")
    return torch.as_tensor(xyz[np.isfinite(xyz).all(axis=1)])


def read_ply_mesh(path: Path) -> tuple[Float[Tensor, "vertex 3"], Int[Tensor, "triangle 3"]]:
    """Read the vertices of a mesh and its triangles (or quadrangles, halved); those that are not finite are left out.

    SceneFormatError as of points, or if it has no faces, others, or faces of vertices that are not there.
    """
    with _reading(path):
        header = _header(path)
        if not header.counts.get("face"):
            raise ValueError("it has no faces, so it is no mesh; a cloud is read by the method points")
        data, faces = _with_faces(path, _CORNERS["vertex_index" in header.face])
        xyz = _columns(data, "xyz")
        if len(faces) and not 0 <= faces.min() <= faces.max() < len(xyz):
            raise ValueError(f"its faces name vertices from {faces.min()} to {faces.max()} of {len(xyz)}")
    triangles = np.concatenate([faces[:, [0, one - 1, one]] for one in range(2, faces.shape[1])]).astype(np.int64)
    triangles = triangles[np.isfinite(xyz).all(axis=1)[triangles].all(axis=1)]
    return torch.as_tensor(xyz), torch.as_tensor(triangles)


def read_ply_splats(path: Path) -> Splats:
    """Read the splats of a file in the layout of 3DGS; those that are not finite are left out.

    SceneFormatError as of points, or if they have no opacity, scales or rotations.
    """
    with _reading(path):
        missing = [name for name in _SPLAT if name not in _header(path).vertex]
        if missing:
            raise ValueError(f"its vertices have no {', '.join(missing)}, so they are no splats; points need none")
        values = _columns(PlyData.read(str(path)), (*"xyz", *_SPLAT))
    known = torch.as_tensor(values[np.isfinite(values).all(axis=1)])
    return Splats(known[:, :3], known[:, 3].sigmoid(), known[:, 4:7].exp(), known[:, 7:])


@dataclass(frozen=True, slots=True)
class _Header:
    """Rows by element, and the properties of vertices and faces."""

    counts: dict[str, int]
    vertex: tuple[str, ...]
    face: tuple[str, ...]


def _header(path: Path) -> _Header:
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
    return _Header(counts, tuple(names.get("vertex", ())), tuple(names.get("face", ())))


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


def _columns(data: PlyData, names: Sequence[str]) -> Float[np.ndarray, "vertex property"]:
    return np.stack([data["vertex"][name] for name in names], axis=-1).astype(np.float64)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise SceneFormatError(f"'{path}' is not readable as PLY: {error}. Write it again.") from error
