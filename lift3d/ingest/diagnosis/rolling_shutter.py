"""Whether pictures were read out row by row while the camera moved, told from matches and the path of the poses."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.rays import directions_z1
from lift3d.ingest.diagnosis.evidence import PairEvidence

Motion = tuple[Float[Tensor, "view 3"], Float[Tensor, "view 3"]]


def motion(cameras: Sequence[Camera]) -> Motion:
    """Return how far each camera turns and goes until the next one: rotation vectors (its axes), translations (world).

    Central differences along the sequence, one-sided at its ends.
    """
    from scipy.spatial.transform import Rotation

    turns = Rotation.from_matrix(np.stack([camera.w2c[:3, :3].numpy() for camera in cameras]))
    centers = torch.stack([camera.center for camera in cameras])
    here = np.arange(len(cameras))
    before, after = (here - 1).clip(min=0), (here + 1).clip(max=len(here) - 1)
    apart = torch.from_numpy((after - before).clip(min=1))[:, None]
    between = torch.from_numpy((turns[after] * turns[before].inv()).as_rotvec())
    return between / apart, (centers[after] - centers[before]) / apart


def readout_errors(
    cameras: Sequence[Camera], moved: Motion, pairs: Sequence[PairEvidence], share: float
) -> list[Float[Tensor, " match"]]:
    """Return per pair how far its matches are from each other's epipolar plane, pixels, were rows read one by one.

    ``share`` is the time from the first row to the last by that from view to view; the pose is of the middle row.

    Source:
        Hedborg et al., Rolling Shutter Bundle Adjustment, CVPR 2012: the pose moves linearly through the rows.
    """
    return [_off_plane(cameras, moved, one, share) for one in pairs]


def _off_plane(cameras: Sequence[Camera], moved: Motion, one: PairEvidence, share: float) -> Float[Tensor, " match"]:
    sides = [
        _rays(cameras[view], moved[0][view], moved[1][view], uv, share)
        for view, uv in zip(one.pair, one.uv, strict=True)
    ]
    (center_a, ray_a), (center_b, ray_b) = sides
    along = torch.nn.functional.normalize(center_b - center_a, dim=1)
    off = []
    for (view, own), other in zip(zip(one.pair, (ray_a, ray_b), strict=True), (ray_b, ray_a), strict=True):
        normal = torch.linalg.cross(along, other)
        sine = (own * normal).sum(1).abs() / normal.norm(dim=1).clamp(min=1e-12)
        off.append(float(cameras[view].K[1, 1]) * sine)
    return torch.maximum(*off)


def _rays(
    camera: Camera, turn: Float[Tensor, "3"], step: Float[Tensor, "3"], uv: Float[Tensor, "match 2"], share: float
) -> tuple[Float[Tensor, "match 3"], Float[Tensor, "match 3"]]:
    """Return whence each pixel looked, and where to (of length 1), in the world."""
    time = share * (uv[:, 1:].double() / camera.size.height - 0.5)
    rays = directions_z1(uv.double(), camera.K)
    # w2c(t) = exp(t·turn) w2c, so that a ray goes back by −t·turn; small angles: to the second order.
    back = -time * turn
    turned = rays + torch.linalg.cross(back, rays)
    turned = turned + 0.5 * torch.linalg.cross(back, torch.linalg.cross(back, rays))
    return camera.center + time * step, torch.nn.functional.normalize(turned @ camera.w2c[:3, :3], dim=1)
