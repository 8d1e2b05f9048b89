"""Scene geometry from a mesh: the nearest triangle on the ray of every cell."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.geometry.rasterization import mesh_depth
from lift3d.geometry.rigid import transform
from lift3d.scenes.mesh_files import read_mesh
from lift3d.surface.catalog import MESH
from lift3d.surface.depth_map import given_grid
from lift3d.surface.file_geometry import FileGeometry
from lift3d.surface.frame_check import ReadSurface
from lift3d.surface.sensor import where_valid

_SAMPLES = 20_000


class MeshGeometry(FileGeometry):
    """Depth of the triangles of a file, in the world of the scene; both of their sides are seen."""

    spec = MESH

    def _read(self, views: Sequence[SourceGuide], near: float) -> ReadSurface:
        """Return what every view sees of the mesh, all equally sure."""
        vertices, triangles = read_mesh(self._path)

        def seen(view: SourceGuide) -> ViewGeometry:
            camera, grid = view.camera, given_grid(view.camera.size)
            size = (camera.size.height, camera.size.width)
            z = mesh_depth(transform(camera.w2c, vertices), triangles, camera.K, size, grid.lattice, near)
            return where_valid(view, grid, z, torch.isfinite(z).float())

        return ReadSurface({view.id: seen(view) for view in views}, _sampled(vertices, triangles))


def _sampled(
    vertices: Float[Tensor, "vertex 3"], triangles: Int[Tensor, "triangle 3"]
) -> Float[Tensor, "point 3"] | None:
    """Return points spread evenly over the area of a mesh, always the same; None if it has no area."""
    corners = vertices[triangles].numpy(force=True)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    if not area.sum() > 0:
        return None
    random = np.random.default_rng(0)
    chosen = corners[np.searchsorted(area.cumsum(), np.sort(random.uniform(0, area.sum(), _SAMPLES)))]
    share = random.dirichlet((1, 1, 1), _SAMPLES)
    return torch.as_tensor((share[:, :, None] * chosen).sum(1))
