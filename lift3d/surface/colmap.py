"""Scene geometry from the depth maps of a dense workspace of COLMAP."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import SceneFormatError
from lift3d.geometry.projection import project
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import nearest_rotation
from lift3d.geometry.sampling import nearest_cells
from lift3d.scenes.colmap_dense import KINDS, DenseView, read_depth_map, read_workspace
from lift3d.scenes.image_sizes import is_rescale
from lift3d.surface.agreement import agreed
from lift3d.surface.catalog import COLMAP
from lift3d.surface.depth_map import given_grid
from lift3d.surface.file_geometry import FileGeometry
from lift3d.surface.frame_check import ReadSurface
from lift3d.surface.sensor import where_valid

# Photometric maps were asked of no other view.
_CONFIDENCE = dict(zip(KINDS, (1.0, 0.5), strict=True))
# Cameras are the scene's if they differ by less: rotations, and centres as a share of how far the cameras are spread.
_LARGEST_TURN, _LARGEST_SHIFT = 0.02, 0.02


class ColmapGeometry(FileGeometry):
    """Depth maps by the names of their images, moved to what the other views say; views without one stay unknown."""

    spec = COLMAP

    def _read(self, views: Sequence[SourceGuide], near: float) -> ReadSurface:
        """Return the views' own maps, which do not hang on ``near``."""
        workspace = read_workspace(self._path)
        both = {view.id: (view, workspace[view.id]) for view in views if view.id in workspace}
        if not any(dense.depth_map for _, dense in both.values()):
            raise SceneFormatError(
                f"'{self._path.name}' has no depth map of any of the {len(views)} views, such as '{views[0].id}'; it "
                f"has images such as '{next(iter(workspace))}'. Is it the workspace of these images?"
            )
        scale = _scale(self._path.name, both)
        geometry = SceneGeometry(self.spec.name, {view.id: _of_view(view, workspace, scale) for view in views})
        return ReadSurface(agreed(geometry).views)


def _scale(what: str, both: Mapping[ViewId, tuple[SourceGuide, DenseView]]) -> float:
    """Return world units of the scene per unit of the workspace, whose cameras must be the scene's but for that.

    The two worlds may differ by a similarity, which changes nothing else of a depth.
    """
    names = sorted(both)
    scene, dense = ([both[name][side].camera for name in names] for side in (0, 1))
    turn = nearest_rotation(
        torch.stack([a.c2w[:3, :3] @ b.w2c[:3, :3] for a, b in zip(scene, dense, strict=True)]).sum(0)
    )
    own, other = (torch.stack([camera.center for camera in cameras]) for cameras in (scene, dense))
    own, other = own - own.mean(0), (other - other.mean(0)) @ turn.T
    spread = other.square().sum()
    scale = float((own * other).sum() / spread) if float(spread) > 0 else 1.0
    turned = torch.stack([a.w2c[:3, :3] @ turn @ b.c2w[:3, :3] for a, b in zip(scene, dense, strict=True)])
    largest = float((turned - torch.eye(3, dtype=turned.dtype, device="cpu")).abs().max())
    shift = float((own - scale * other).norm(dim=-1).max() / own.norm(dim=-1).max().clamp(min=1e-12))
    if scale <= 0 or largest > _LARGEST_TURN or (len(names) > 1 and shift > _LARGEST_SHIFT):
        raise SceneFormatError(
            f"The cameras of '{what}' are not those of the scene: turned against each other by {largest:.2g}, apart by "
            f"{shift:.1%} of their spread. Make the depth maps with the model that the scene is read from."
        )
    return scale


def _of_view(view: SourceGuide, workspace: Mapping[ViewId, DenseView], scale: float) -> ViewGeometry:
    """Read the depth map on the rays of a view's cells; unknown where the view has none."""
    grid = given_grid(view.camera.size)
    dense = workspace.get(view.id)
    if dense is None or dense.depth_map is None:
        return where_valid(view, grid, torch.full(grid.shape, torch.nan), torch.zeros(grid.shape))
    z = scale * _on_rays(view, grid, dense, torch.as_tensor(read_depth_map(dense.depth_map)))
    return where_valid(view, grid, z, _CONFIDENCE[dense.kind] * torch.isfinite(z))


def _on_rays(
    view: SourceGuide, grid: FeatureGrid, dense: DenseView, z_depth: Float[Tensor, "height width"]
) -> Float[Tensor, "row col"]:
    """Return a depth map's nearest pixels on a view's rays: the undistorted image has intrinsics of its own."""
    height, width = z_depth.shape
    size = dense.camera.size
    if not is_rescale(ImageSize(height, width), size):
        raise SceneFormatError(
            f"The depth map '{dense.depth_map}' is {height}×{width}, its image {size.height}×{size.width} "
            "(height×width); expected the same size or a uniform rescale. It is that of another image."
        )
    rays = directions_z1(cell_centers(*grid.lattice).double(), view.camera.K)
    uv, _ = project(rays, dense.camera.K)
    uv = uv * torch.tensor([width / size.width, height / size.height], dtype=uv.dtype)
    at = nearest_cells(uv, height, width)
    return torch.where(at >= 0, z_depth.reshape(-1)[at.clamp(min=0)], torch.nan)
