"""The surface that views with depth show, written as meshes, clouds, splats and depth maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from plyfile import PlyData, PlyElement

from lift3d.bench.systems.layouts import Taken
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import transform

# Neighbouring pixels whose depths differ by more are of two surfaces.
_JUMP = 0.05
# Radius of a splat in pixels, and its opacity before it is squashed.
_SPLAT_PX, _SPLAT_LOGIT = 0.5, 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """World vertices, triangles between those of one surface, and how wide a pixel is there."""

    xyz: Float[ndarray, "vertex 3"]
    triangles: Int[ndarray, "triangle 3"]
    width: Float[ndarray, " vertex"]

    def scaled(self, unit: float) -> "Shape":
        """Return the shape in another unit."""
        return replace(self, xyz=unit * self.xyz, width=unit * self.width)


def axes_swapped(shape: Shape) -> Shape:
    """Return the shape in a world whose y and z axes are turned around."""
    return replace(shape, xyz=shape.xyz * [1.0, -1.0, -1.0])


def shape_of(views: Sequence[Taken]) -> Shape:
    """Return a vertex at each pixel of each view; those at other depths are of other surfaces."""
    xyz, triangles, widths, first = [], [], [], 0
    for view in views:
        z, K = torch.from_numpy(view.z_depth), view.camera.K
        uv = cell_centers(*z.shape).double()
        xyz.append(transform(view.camera.c2w, unproject(uv, z, K).reshape(-1, 3)).numpy())
        widths.append((z / K[0, 0]).reshape(-1).numpy())
        index = np.arange(z.numel()).reshape(z.shape)
        quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], axis=-1).reshape(-1, 4)
        depth = view.z_depth.reshape(-1)[quads]
        kept = quads[(depth.min(1) > 0) & (depth.max(1) < (1 + _JUMP) * depth.min(1))] + first
        triangles += [kept[:, [0, 1, 2]], kept[:, [0, 2, 3]]]
        first += z.numel()
    points, faces, width = np.concatenate(xyz), np.concatenate(triangles), np.concatenate(widths)
    used, renumbered = np.unique(faces, return_inverse=True)
    return Shape(points[used], renumbered.reshape(-1, 3), width[used])


def _write_mesh(path: Path, shape: Shape) -> None:
    import trimesh

    digits = {"digits": 9} if path.suffix in (".obj", ".off") else {}
    trimesh.Trimesh(shape.xyz, shape.triangles, process=False).export(path, **digits)


def _write_ply(path: Path, shape: Shape, **columns: Float[ndarray, " vertex"]) -> None:
    named = {**dict(zip("xyz", shape.xyz.T, strict=True)), **columns}
    rows = np.empty(len(shape.xyz), [(name, "f4") for name in named])
    for name, values in named.items():
        rows[name] = values
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(str(path))


def _write_splats(path: Path, shape: Shape) -> None:
    one = np.ones(len(shape.xyz))
    scales = {f"scale_{axis}": np.log(_SPLAT_PX * shape.width) for axis in range(3)}
    turns = {f"rot_{part}": one * (part == 0) for part in range(4)}
    _write_ply(path, shape, opacity=_SPLAT_LOGIT * one, **scales, **turns)


# By method and suffix.
FILES: dict[str, Callable[[Path, Shape], None]] = {
    **{f"mesh {suffix}": _write_mesh for suffix in (".ply", ".obj", ".off", ".stl", ".glb")},
    "points": _write_ply,
    "splats": _write_splats,
}


def write_maps(folder: Path, views: Sequence[Taken], suffix: str, unit: float, power: int) -> None:
    """Write a map per view, by its name, in numbers of so many world units; a power of 1 makes distances along rays."""
    folder.mkdir(parents=True)
    for view in views:
        uv = cell_centers(*view.z_depth.shape).double()
        length = directions_z1(uv, view.camera.K).norm(dim=-1).numpy()
        numbers, path = view.z_depth * length**power / unit, folder / f"{view.name}_depth{suffix}"
        if suffix == ".npy":
            np.save(path, numbers.astype(np.float32))
        elif suffix == ".npz":
            np.savez_compressed(path, depth=numbers.astype(np.float32))
        else:
            cv2.imwrite(str(path), numbers.round().astype(np.uint16))
