"""Depth that neighbours confirm: the filter that the literature puts behind learned multi-view stereo."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.projection import is_inside, transfer
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample

Posed = tuple[Camera, Float[Tensor, "height width"]]


def confirmed(
    own: Posed,
    neighbours: Sequence[Posed],
    *,
    pixels: float = 1.0,
    share: float = 0.01,
    fewest: int = 3,
) -> Float[Tensor, "height width"]:
    """Return a view's depth where its neighbours confirm it, averaged with theirs; NaN elsewhere.

    Args:
        own: The view's camera, and its z-depth at that size, NaN where unknown.
        neighbours: Likewise, of those that may confirm.
        pixels: A pixel taken to a neighbour, and back by the neighbour's depth, ends within this of where it began.
        share: And its depth within this share of what it was.
        fewest: Neighbours that must confirm.

    Source:
        Yao et al., MVSNet, ECCV 2018, §4.2; thresholds as PatchmatchNet's authors set them.
    """
    a, z = (own[0].K, own[0].w2c), own[1]
    uv, flat = cell_centers(*z.shape).reshape(-1, 2), z.flatten()
    total, count = flat.clone(), torch.ones_like(flat)
    for camera, of_neighbour in neighbours:
        b = (camera.K, camera.w2c)
        there, _ = transfer(uv, flat, a, b)
        back, z_back = transfer(there, _read(of_neighbour, there), b, a)
        confirms = ((back - uv).norm(dim=-1) < pixels) & ((z_back - flat).abs() < share * flat)
        total += torch.where(confirms, z_back, 0)
        count += confirms
    return torch.where(count > fewest, total / count, torch.nan).reshape(z.shape)


def _read(z: Float[Tensor, "height width"], uv: Float[Tensor, "point 2"]) -> Float[Tensor, " point"]:
    """Read depth bilinearly; NaN beside unknown depth and outside the image."""
    is_known = torch.isfinite(z)
    depth, known = sample(torch.stack([torch.where(is_known, z, 0), is_known.to(z)]), uv)
    return torch.where((known > 0.999) & is_inside(uv, *z.shape), depth, torch.nan)
