"""Scene geometry from splats of 3DGS: the depth at which they hide half of what is behind them.

Letters: a covariance is that of a splat on the image, pixels squared; light is what is left of a ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.geometry.projection import project
from lift3d.geometry.rasterization import cells_in_boxes
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.scenes.ply import Splats, read_ply_splats
from lift3d.surface.catalog import SPLATS
from lift3d.surface.depth_map import given_grid
from lift3d.surface.file_geometry import FileGeometry, ReadSurface
from lift3d.surface.sensor import where_valid

# What hides less than this is not drawn, as in 3DGS; more than that never, so that logarithms are finite.
_LEAST_ALPHA, _MOST_ALPHA = 1 / 255, 0.99
# A splat ends at so many standard deviations.
_EXTENT = 3.0
# Variance of the filter of a cell, in cells squared.
_CELL_VARIANCE = 0.3
# Beyond this share of the image's half width, the slope of a splat's projection no longer grows.
_WIDEST = 1.3


class SplatsGeometry(FileGeometry):
    """Median depth of the splats of a ``.ply`` file, in the world of the scene."""

    spec = SPLATS

    def _read(self, views: Sequence[SourceGuide], near: float) -> ReadSurface:
        """Return where every view's light ends, the surer the more of it ends there."""
        splats = read_ply_splats(self._path)
        ellipsoids = _Ellipsoids.of(splats)
        found = {view.id: _seen(view, ellipsoids, near, self.spec.tolerance) for view in views}
        opaque = splats.xyz[splats.opacity > 0.5]
        return ReadSurface(found, opaque if len(opaque) else None)


@dataclass(frozen=True, slots=True, eq=False)
class _Ellipsoids:
    """Splats with their covariances, world units."""

    xyz: Float[Tensor, "splat 3"]
    opacity: Float[Tensor, " splat"]
    covariance: Float[Tensor, "splat 3 3"]

    @classmethod
    def of(cls, splats: Splats) -> "_Ellipsoids":
        w, x, y, z = torch.nn.functional.normalize(splats.rotation, dim=-1).unbind(-1)
        rows = [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ]
        axes = torch.stack(rows, dim=-1).reshape(-1, 3, 3) * splats.scale[:, None, :]
        return cls(splats.xyz, splats.opacity, axes @ axes.mT)


def _seen(view: SourceGuide, splats: _Ellipsoids, near: float, tolerance: float) -> ViewGeometry:
    grid = given_grid(view.camera.size)
    z, cell, alpha = _drawn(view.camera, grid, splats, near)
    count = grid.cell_count
    kept = torch.log1p(-alpha)
    ends = kept.cumsum(0)
    first = torch.searchsorted(cell, torch.arange(count))
    before = ends - kept - torch.cat([torch.zeros(1, dtype=ends.dtype), ends])[first][cell]
    light = before.exp()
    is_median = (light >= 0.5) & ((before + kept).exp() < 0.5)
    median = torch.full((count,), torch.nan, dtype=z.dtype)
    median[cell[is_median]] = z[is_median]
    is_near = (z / median[cell] - 1).abs() < tolerance
    weight = torch.where(is_near, light * alpha, 0.0)
    total, sums = (torch.zeros(count, dtype=z.dtype).index_add_(0, cell, one) for one in (weight, weight * z))
    depth = (sums / total).float().reshape(grid.shape)
    return where_valid(view, grid, depth, total.float().clamp(max=1).reshape(grid.shape))


def _drawn(camera: Camera, grid: FeatureGrid, splats: _Ellipsoids, near: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return depth, cell and opacity of every splat in every cell that it covers, by cell, the nearest first.

    Source:
        Kerbl et al., 3D Gaussian splatting, SIGGRAPH 2023, §4; opacity under a cell's filter: Yu et al.,
        Mip-splatting, CVPR 2024, §5.2.
    """
    xyz = transform(camera.w2c, splats.xyz)
    order = xyz[:, 2].argsort(stable=True)
    order = order[xyz[order, 2] > near]
    xyz, opacity = xyz[order], splats.opacity[order]
    uv, _ = project(xyz, camera.K)
    sharp = _on_image(camera, xyz, splats.covariance[order])
    filtered = sharp + torch.diag(_CELL_VARIANCE * torch.tensor([grid.stride_u, grid.stride_v]).double().square())
    determinant = filtered.det()
    opacity = opacity * (sharp.det().clamp(min=0) / determinant).sqrt()
    reach = _EXTENT * filtered.diagonal(dim1=1, dim2=2).sqrt()
    reach = torch.where((opacity > _LEAST_ALPHA)[:, None], reach, -1.0)
    centers = cell_centers(*grid.lattice).double().reshape(-1, 2)
    parts = []
    for at, cell in cells_in_boxes(uv - reach, uv + reach, grid.lattice):
        (x, y), own = (centers[cell] - uv[at]).T, filtered[at]
        distance = (own[:, 1, 1] * x * x - 2 * own[:, 0, 1] * x * y + own[:, 0, 0] * y * y) / determinant[at]
        alpha = (opacity[at] * (-distance / 2).exp()).clamp(max=_MOST_ALPHA)
        is_drawn = alpha > _LEAST_ALPHA
        parts.append((xyz[at[is_drawn], 2], cell[is_drawn], alpha[is_drawn]))
    if not parts:
        return xyz[:0, 2], torch.zeros(0, dtype=torch.long), xyz[:0, 2]
    z, cell, alpha = (torch.cat(one) for one in zip(*parts, strict=True))
    by_cell = cell.argsort(stable=True)
    return z[by_cell], cell[by_cell], alpha[by_cell]


def _on_image(
    camera: Camera, xyz: Float[Tensor, "splat 3"], covariance: Float[Tensor, "splat 3 3"]
) -> Float[Tensor, "splat 2 2"]:
    """Return covariances on the image, by the slope of the projection at the centre of each splat."""
    K, z = camera.K, xyz[:, 2]
    widest = [
        float(_WIDEST * side / (2 * K[axis, axis])) for axis, side in enumerate((camera.size.width, camera.size.height))
    ]
    x, y = ((xyz[:, axis] / z).clamp(-limit, limit) for axis, limit in enumerate(widest))
    none = torch.zeros_like(z)
    rows = [K[0, 0] / z, K[0, 1] / z, -(K[0, 0] * x + K[0, 1] * y) / z, none, K[1, 1] / z, -K[1, 1] * y / z]
    slope = torch.stack(rows, dim=-1).reshape(-1, 2, 3) @ camera.w2c[:3, :3].to(z.device)
    return slope @ covariance @ slope.mT
