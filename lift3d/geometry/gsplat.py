"""Splats drawn by gsplat, on a GPU: the picture of plain torch, and its adjoint by automatic differentiation."""

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.extras import extra
from lift3d.geometry.gaussians import CELL_VARIANCE, Gaussians

with extra("splats"):
    import gsplat

# Channels that gsplat draws at once; wider values go through it in parts.
_CHANNELS = 32


def has_kernels() -> bool:
    """Whether gsplat can draw here: without CUDA's compiler, at its first use, it has no kernels."""
    from gsplat.cuda._backend import _C

    return _C is not None


class GsplatPicture:
    """What a camera sees of splats, cells of a grid for pixels.

    Values stay where they are given; the splats are drawn in single precision on the current CUDA device.
    """

    def __init__(self, camera: Camera, grid: FeatureGrid, splats: Gaussians, near: float, device: str = "cuda") -> None:
        self.grid, self._device = grid, torch.device(device)
        # A cell of the grid is a pixel of the picture.
        K = camera.K.clone()
        K[0] = (K[0] - grid.origin_u * K[2]) / grid.stride_u
        K[1] = (K[1] - grid.origin_v * K[2]) / grid.stride_v
        count = len(splats.xyz)
        self._drawn = {
            "means": self._on_device(splats.xyz),
            "quats": torch.empty(count, 4, device=self._device),
            "scales": torch.empty(count, 3, device=self._device),
            "covars": self._on_device(splats.covariance),
            "opacities": self._on_device(splats.opacity),
            "viewmats": self._on_device(camera.w2c[None]),
            "Ks": self._on_device(K[None]),
        }
        self._options = {
            "width": grid.cols, "height": grid.rows, "near_plane": near, "eps2d": CELL_VARIANCE,
            "rasterize_mode": "antialiased", "packed": True,
        }  # fmt: skip

    def rendered(
        self, values: Float[Tensor, "splat channel"]
    ) -> tuple[Float[Tensor, "channel row col"], Float[Tensor, "row col"]]:
        """Return the sum of the splats' values by weight, and the sum of the weights: what is not there is dark."""
        with torch.no_grad():
            parts = [self._picture(self._on_device(one)) for one in torch.split(values, _CHANNELS, dim=1)]
        picture = torch.cat([one for one, _ in parts], dim=-1)
        return picture.permute(2, 0, 1).to(values), parts[0][1].to(values)

    def rendered_depth(self) -> tuple[Float[Tensor, "row col"], Float[Tensor, "row col"]]:
        """Return the mean depth of what is seen, by weight, NaN where nothing is, and the sum of the weights."""
        w2c = self._drawn["viewmats"][0]
        z = self._drawn["means"] @ w2c[2, :3] + w2c[2, 3]
        (sums,), total = self.rendered(z[:, None].cpu())
        return sums / torch.where(total > 0, total, torch.nan), total

    def given_back(
        self, values: Float[Tensor, "cell channel"], splat_count: int
    ) -> tuple[Float[Tensor, "splat channel"], Float[Tensor, " splat"]]:
        """Return sums of the cells' values, and of the weights, of each splat, as ``Footprints.given_back``."""
        is_known = torch.isfinite(values).all(1)
        given = torch.cat([torch.where(is_known[:, None], values, 0.0), is_known[:, None].to(values)], dim=1)
        parts = [self._adjoint(one, splat_count) for one in torch.split(given, _CHANNELS, dim=1)]
        sums = torch.cat(parts, dim=1).to(values)
        return sums[:, :-1], sums[:, -1]

    def _adjoint(self, values: Float[Tensor, "cell channel"], splat_count: int) -> Float[Tensor, "splat channel"]:
        """Return what the transpose of drawing makes of values: the gradient of their product with the picture."""
        shown = torch.zeros(splat_count, values.shape[1], device=self._device, requires_grad=True)
        with torch.enable_grad():
            picture, _ = self._picture(shown)
            product = (picture.reshape(-1, values.shape[1]) * self._on_device(values)).sum()
        (gradient,) = torch.autograd.grad(product, shown)
        return gradient

    def _picture(
        self, values: Float[Tensor, "splat channel"]
    ) -> tuple[Float[Tensor, "row col channel"], Float[Tensor, "row col"]]:
        picture, total, _ = gsplat.rasterization(colors=values, **self._drawn, **self._options)
        return picture[0], total[0, ..., 0]

    def _on_device(self, values: Tensor) -> Tensor:
        return values.to(self._device, torch.float32)
