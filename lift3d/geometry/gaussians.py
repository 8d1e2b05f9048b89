"""Gaussians of 3D Gaussian splatting, and what a camera makes of them: ellipses on its image."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.geometry.projection import project
from lift3d.geometry.rigid import transform

# What hides less than this is not drawn, as in 3DGS.
LEAST_ALPHA = 1 / 255
# A splat ends at so many standard deviations.
_EXTENT = 3.0
# Variance of the filter of a cell, in cells squared.
CELL_VARIANCE = 0.3
# Beyond the image by this share of its half width, the slope of a splat's projection no longer grows.
_BEYOND = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """Splats with their covariances, world units."""

    xyz: Float[Tensor, "splat 3"]
    opacity: Float[Tensor, " splat"]
    covariance: Float[Tensor, "splat 3 3"]

    @classmethod
    def of(
        cls,
        xyz: Float[Tensor, "splat 3"],
        opacity: Float[Tensor, " splat"],
        scale: Float[Tensor, "splat 3"],
        rotation: Float[Tensor, "splat 4"],
    ) -> "Gaussians":
        """Put them together from standard deviations along own axes, which quaternions (w, x, y, z) turn."""
        w, x, y, z = torch.nn.functional.normalize(rotation, dim=-1).unbind(-1)
        rows = [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ]
        axes = torch.stack(rows, dim=-1).reshape(-1, 3, 3) * scale[:, None, :]
        return cls(xyz, opacity, axes @ axes.mT)


@dataclass(frozen=True, slots=True, eq=False)
class Ellipses:
    """Splats on the image of a camera, the nearest first, under the filter of a grid's cells.

    Attributes:
        splat: Which one it is.
        z_depth: Of its centre, camera z.
        uv: Of its centre, pixels.
        covariance: Pixels squared, filtered.
        determinant: Of that.
        opacity: At the centre, under the filter.
        reach: Half of the box beyond which it shows nothing, pixels; negative of what is not drawn.
    """

    splat: Int[Tensor, " ellipse"]
    z_depth: Float[Tensor, " ellipse"]
    uv: Float[Tensor, "ellipse 2"]
    covariance: Float[Tensor, "ellipse 2 2"]
    determinant: Float[Tensor, " ellipse"]
    opacity: Float[Tensor, " ellipse"]
    reach: Float[Tensor, "ellipse 2"]

    @classmethod
    def of(cls, camera: Camera, grid: FeatureGrid, splats: Gaussians, near: float) -> "Ellipses":
        """Project the splats from a depth of ``near`` on.

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
        filtered = sharp + torch.diag(CELL_VARIANCE * torch.tensor([grid.stride_u, grid.stride_v]).double().square())
        determinant = filtered.det()
        opacity = opacity * (sharp.det().clamp(min=0) / determinant).sqrt()
        reach = _EXTENT * filtered.diagonal(dim1=1, dim2=2).sqrt()
        reach = torch.where((opacity > LEAST_ALPHA)[:, None], reach, -1.0)
        return cls(order, xyz[:, 2], uv, filtered, determinant, opacity, reach)


def _on_image(
    camera: Camera, xyz: Float[Tensor, "splat 3"], covariance: Float[Tensor, "splat 3 3"]
) -> Float[Tensor, "splat 2 2"]:
    """Return covariances on the image, by the slope of the projection at the centre of each splat."""
    K, z = camera.K, xyz[:, 2]
    x, y = (
        (xyz[:, axis] / z).clamp(
            -float(K[axis, 2] + _BEYOND * side / 2) / float(K[axis, axis]),
            float(side - K[axis, 2] + _BEYOND * side / 2) / float(K[axis, axis]),
        )
        for axis, side in enumerate((camera.size.width, camera.size.height))
    )
    none = torch.zeros_like(z)
    rows = [K[0, 0] / z, K[0, 1] / z, -(K[0, 0] * x + K[0, 1] * y) / z, none, K[1, 1] / z, -K[1, 1] * y / z]
    slope = torch.stack(rows, dim=-1).reshape(-1, 2, 3) @ camera.w2c[:3, :3].to(z.device)
    return slope @ covariance @ slope.mT
