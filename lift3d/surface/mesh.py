"""Scene geometry from a mesh: the nearest triangle on the ray of every cell."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.geometry.rasterization import mesh_depth
from lift3d.geometry.rigid import transform
from lift3d.scenes.ply import read_ply_mesh
from lift3d.surface.catalog import MESH
from lift3d.surface.frame_check import require_fit
from lift3d.surface.sensor import GUIDE_STRIDE_PX, where_valid

# What is nearer than this share of the nearest depth that matters is cut off: a camera may stand inside a mesh.
NEAREST_SHARE = 0.1
_SAMPLES = 20_000


class MeshGeometry:
    """Depth of the triangles of a ``.ply`` file, in the world of the scene; both of their sides are seen."""

    spec = MESH

    def __init__(self, path: Path) -> None:
        self._path = path

    def estimate(
        self, views: Sequence[SourceGuide], depth_range: DepthRange, find_tracks: Callable[[], Tracks]
    ) -> SceneGeometry:
        """Return what every view sees of the mesh, all equally sure.

        Raises:
            SceneFormatError: If the file holds no mesh, or does not fit the views.
        """
        vertices, triangles = read_ply_mesh(self._path)

        def seen(view: SourceGuide) -> ViewGeometry:
            camera, grid = view.camera, FeatureGrid.covering(view.camera.size, GUIDE_STRIDE_PX)
            size, near = (camera.size.height, camera.size.width), NEAREST_SHARE * depth_range.near
            z = mesh_depth(transform(camera.w2c, vertices), triangles, camera.K, size, grid.lattice, near)
            return where_valid(view, grid, z, torch.isfinite(z).float())

        found = SceneGeometry(self.spec.name, {view.id: seen(view) for view in views})
        return require_fit(found, views, depth_range, find_tracks, self._path.name, _sampled(vertices, triangles))


def _sampled(
    vertices: Float[Tensor, "vertex 3"], triangles: Int[Tensor, "triangle 3"]
) -> Float[Tensor, "point 3"] | None:
    """Return points spread evenly over the area of a mesh, always the same; None if it has no area."""
    corners = vertices[triangles].numpy()
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    if not area.sum() > 0:
        return None
    random = np.random.default_rng(0)
    chosen = corners[np.searchsorted(area.cumsum(), np.sort(random.uniform(0, area.sum(), _SAMPLES)))]
    share = random.dirichlet((1, 1, 1), _SAMPLES)
    return torch.from_numpy((share[:, :, None] * chosen).sum(1))
