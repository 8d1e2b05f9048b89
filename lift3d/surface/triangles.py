"""The surface as triangles: where the distance that all views tell passes zero."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from lift3d.geometry.rigid import transform
from lift3d.surface.cloud import surface_points
from lift3d.surface.distance_field import SIDE, DistanceField, distance_field
from lift3d.surface.scene_surface import SceneSurface

# Bricks along each side of the block that is triangulated at once.
_BLOCK = 8
# Voxels between a vertex and the nearest point of the surface.
_NEAR = 1.25
# Smaller pieces are noise.
_FEWEST_FACES = 60
# Vertices nearer to each other than this share of a voxel are one: those that two blocks share differ by rounding.
_MERGED = 1 / 64


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles of the surface of a scene, anticlockwise as seen from free space, where unit normals point."""

    xyz: Float[Tensor, "vertex 3"]
    normals: Float[Tensor, "vertex 3"]
    faces: Int[Tensor, "face 3"]


def surface_mesh(surface: SceneSurface, most: int) -> Mesh:
    """Return the triangles of a surface; none where too few views agree.

    ``most`` is of the spots of the surface, about a fourth of the vertices; time and memory grow with it.

    Source:
        Lewiner et al., Efficient implementation of marching cubes' cases with topological guarantees, 2003, as
        scikit-image has it.
    """
    points = surface_points(surface, most)
    return mesh_at(surface, points.xyz, points.spacing, range(len(surface.views)))


def mesh_at(surface: SceneSurface, points: Float[Tensor, "point 3"], spacing: float, views: Sequence[int]) -> Mesh:
    """Return the triangles of a surface at points of it that lie so far apart, as some of its views tell."""
    vertices, faces = np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    if len(points):
        field = distance_field(surface, points, spacing, views)
        vertices, faces = _merged(_blocks(field))
        apart = transform(surface.views[0].camera.w2c, points) / spacing
        vertices, faces = _near(vertices, faces, apart.numpy())
    xyz = transform(surface.views[0].camera.c2w, torch.from_numpy(vertices * spacing))
    triangles = torch.from_numpy(faces)
    return Mesh(xyz, _normals(xyz, triangles), triangles)


def _blocks(field: DistanceField) -> Iterator[tuple[Float32[ndarray, "vertex 3"], Int[ndarray, "face 3"]]]:
    """Yield vertices, in voxels, and faces of one block after the other."""
    # Imported when it is needed: it takes half a second.
    from skimage.measure import marching_cubes

    number = {tuple(place): at for at, place in enumerate(field.brick.tolist())}
    for block in torch.unique(field.brick.div(_BLOCK, rounding_mode="floor"), dim=0):
        dense = np.full((SIDE * (_BLOCK + 1),) * 3, np.nan, dtype=np.float32)
        corner = (block * _BLOCK).tolist()
        for offset in np.ndindex(*(_BLOCK + 1,) * 3):
            at = number.get(tuple(a + b for a, b in zip(corner, offset, strict=True)))
            if at is not None:
                dense[tuple(slice(SIDE * one, SIDE * (one + 1)) for one in offset)] = field.distance[at].numpy()
        dense = dense[(slice(SIDE * _BLOCK + 1),) * 3]
        known = np.isfinite(dense)
        # A cube has a surface if all its corners are known; it has the number of its last corner.
        is_whole = np.zeros_like(known)
        corners = [known[tuple(slice(one, one - 1 or None) for one in offset)] for offset in np.ndindex(2, 2, 2)]
        is_whole[1:, 1:, 1:] = np.logical_and.reduce(corners)
        values = dense[known]
        if not is_whole.any() or values.min() >= 0 or values.max() <= 0:
            continue
        try:
            vertices, faces, _, _ = marching_cubes(
                np.nan_to_num(dense, nan=1.0), 0.0, gradient_direction="descent", mask=is_whole
            )
        except RuntimeError:
            # What passes zero lies at cubes that are not whole.
            continue
        yield vertices + (block * SIDE * _BLOCK).numpy().astype(np.float64), faces


def _merged(
    blocks: Iterator[tuple[Float32[ndarray, "vertex 3"], Int[ndarray, "face 3"]]],
) -> tuple[Float[ndarray, "vertex 3"], Int[ndarray, "face 3"]]:
    """Return one mesh of blocks that share vertices at their sides."""
    vertices, faces, count = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int64)], 0
    for own, triangles in blocks:
        vertices.append(own)
        faces.append(triangles.astype(np.int64) + count)
        count += len(own)
    everywhere = np.concatenate(vertices)
    _, first, same = np.unique(np.round(everywhere / _MERGED), axis=0, return_index=True, return_inverse=True)
    joined = same.reshape(-1)[np.concatenate(faces)]
    joined = joined[(joined != np.roll(joined, 1, axis=1)).all(axis=1)]
    return everywhere[first], joined


def _near(
    vertices: Float[ndarray, "vertex 3"], faces: Int[ndarray, "face 3"], points: Float[ndarray, "point 3"]
) -> tuple[Float[ndarray, "kept 3"], Int[ndarray, "triangle 3"]]:
    """Return the faces at points of the surface: not the curtains behind outlines, nor the smallest pieces."""
    apart, _ = cKDTree(points).query(vertices, distance_upper_bound=_NEAR)
    faces = faces[np.isfinite(apart)[faces].all(axis=1)]
    ends = coo_array((np.ones(2 * len(faces)), (faces[:, :2].ravel(), faces[:, 1:].ravel())), (len(vertices),) * 2)
    _, piece = connected_components(ends, directed=False)
    sizes = np.bincount(piece[faces[:, 0]], minlength=len(vertices) + 1)
    used, renumbered = np.unique(faces[sizes[piece[faces[:, 0]]] >= _FEWEST_FACES], return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)


def _normals(xyz: Float[Tensor, "vertex 3"], faces: Int[Tensor, "face 3"]) -> Float[Tensor, "vertex 3"]:
    """Return the mean normal of the faces around each vertex, by area."""
    a, b, c = (xyz[faces[:, corner]] for corner in range(3))
    normal = torch.linalg.cross(b - a, c - a, dim=-1)
    total = torch.zeros_like(xyz)
    for corner in range(3):
        total.index_add_(0, faces[:, corner], normal)
    return torch.nn.functional.normalize(total, dim=-1)
