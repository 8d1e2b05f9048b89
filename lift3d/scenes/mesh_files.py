"""Meshes in any of the usual formats: ``.ply`` by ``ply.py``, ``.obj``, ``.off``, ``.stl`` and ``.glb`` by trimesh.

What a file promises is held against its bytes before trimesh reads it; materials, textures and other files are not.
"""

import struct
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.keys import parse_json
from lift3d.errors import SceneFormatError
from lift3d.scenes.file_limits import require_bytes
from lift3d.scenes.ply import read_ply_mesh

SUFFIXES = (".ply", ".obj", ".off", ".stl", ".glb")
# Text is held some ten times while it is parsed: six million triangles. Binary files are held once or twice.
_MOST_BYTES = {".obj": 2**28, ".off": 2**28, ".stl": 2**31, ".glb": 2**31}
# More triangles than these come of no file that is read, but of one that is placed again and again.
_MOST_TRIANGLES, _MOST_NODES = 20_000_000, 100_000
_GLB_HEAD, _CHUNK_HEAD, _JSON = struct.Struct("<4sII"), struct.Struct("<II"), 0x4E4F534A
_FEWEST_BYTES = 20
_GLB_KEYS = ("accessors", "meshes", "nodes", "buffers")


def read_mesh(path: Path) -> tuple[Float[Tensor, "vertex 3"], Int[Tensor, "triangle 3"]]:
    """Read the vertices of a mesh and its triangles, as ``read_ply_mesh`` does; other faces are cut into triangles.

    Parts of a ``.glb`` stand where its nodes place them. SceneFormatError if the file is none of these formats, is
    damaged, has no triangle, or promises more than it holds.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SceneFormatError(f"'{path.name}' is no mesh that is read: expected {', '.join(SUFFIXES)}. Convert it.")
    if suffix == ".ply":
        return read_ply_mesh(path)
    try:
        require_bytes(path, _MOST_BYTES[suffix])
        content = path.read_bytes()
    except OSError as error:
        raise SceneFormatError(f"'{path}' cannot be read: {error}.") from error
    try:
        if len(content) < _FEWEST_BYTES:
            raise ValueError("it ends early" if content else "it is empty")
        if suffix == ".glb":
            _require_modest(content)
        xyz, triangles = _parsed(content, suffix)
    except SceneFormatError:
        raise
    except Exception as error:
        # A parser of text meets damage wherever it lies, by whatever it does there.
        said = str(error).partition("\n")[0] or type(error).__name__
        raise SceneFormatError(f"'{path}' is not readable as {suffix}: {said:.200}. Write it again.") from error
    if not len(triangles):
        raise SceneFormatError(f"'{path}' is not readable as {suffix}: it has no triangles, so it is no mesh.")
    if not 0 <= triangles.min() <= triangles.max() < len(xyz):
        raise SceneFormatError(
            f"'{path}' is not readable as {suffix}: its faces name vertices from {triangles.min()} to "
            f"{triangles.max()} of {len(xyz)}. Write it again."
        )
    is_whole = np.isfinite(xyz).all(axis=1)[triangles].all(axis=1)
    return torch.as_tensor(xyz), torch.as_tensor(triangles[is_whole])


def _parsed(content: bytes, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices, in double precision, and triangles in the file's order."""
    import trimesh  # A plan is made without it.

    options = {"process": False, "skip_materials": True, "maintain_order": True}
    found = trimesh.load_scene(BytesIO(content), file_type=suffix[1:], **options)
    # Placed by the nodes of the file; clouds and lines in it are none.
    meshes = [one for one in found.dump() if isinstance(one, trimesh.Trimesh)]
    if sum(len(one.faces) for one in meshes) > _MOST_TRIANGLES:
        raise ValueError(f"it has more than {_MOST_TRIANGLES} triangles; simplify it")
    first = np.cumsum([0, *(len(one.vertices) for one in meshes)])
    vertices = [np.zeros((0, 3)), *(np.asarray(one.vertices, dtype=np.float64) for one in meshes)]
    faces = [np.asarray(one.faces, dtype=np.int64) + at for one, at in zip(meshes, first, strict=False)]
    return np.concatenate(vertices), np.concatenate([np.zeros((0, 3), dtype=np.int64), *faces])


def _require_modest(content: bytes) -> None:
    """Refuse a ``.glb`` that promises more than it holds, names other files, or places its parts over and over."""
    magic, version, length = _GLB_HEAD.unpack_from(content)
    size, kind = _CHUNK_HEAD.unpack_from(content, _GLB_HEAD.size)
    start = _GLB_HEAD.size + _CHUNK_HEAD.size
    if (magic, version, kind) != (b"glTF", 2, _JSON) or length != len(content) or size > length - start:
        raise ValueError("it does not begin as a .glb of glTF 2 does, or ends early")
    document = parse_json(content[start : start + size].decode())
    if not isinstance(document, dict):
        raise ValueError("it holds no glTF")
    found = {key: _dicts(document, key) for key in _GLB_KEYS}
    if document.get("extensionsRequired"):
        raise ValueError(f"it needs {document['extensionsRequired']!r}; export it without compression")
    if any("uri" in one for one in found["buffers"]):
        raise ValueError("it names other files; export it as one")
    if any("bufferView" not in one or int(one["count"]) > len(content) for one in found["accessors"]):
        raise ValueError("its accessors promise numbers that it does not hold")
    counts = [int(one["count"]) for one in found["accessors"]]
    parts = [sum(_corners(part, counts) for part in _dicts(one, "primitives")) for one in found["meshes"]]
    placed = Counter(one["mesh"] for one in found["nodes"] if "mesh" in one)
    children = Counter(child for one in found["nodes"] for child in one.get("children", ()))
    if max(children.values(), default=0) > 1 or len(found["nodes"]) > _MOST_NODES:
        raise ValueError("its nodes are no tree, or too many")
    if sum(count * parts[mesh] for mesh, count in placed.items()) > 3 * _MOST_TRIANGLES:
        raise ValueError(f"its nodes place more than {_MOST_TRIANGLES} triangles")


def _corners(part: dict[str, Any], counts: list[int]) -> int:
    return int(counts[part["indices"] if "indices" in part else part["attributes"]["POSITION"]])


def _dicts(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a list of objects of a document, empty without it; ValueError of anything else."""
    found = document.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"its '{key}' are no list of objects")
    return found
