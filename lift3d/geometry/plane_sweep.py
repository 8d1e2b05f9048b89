"""Pixels of one camera followed through all depths into another: the map that every plane sweep iterates.

Letters: a is the view whose pixels are swept, b the view they are looked up in, disparity is 1 / z_depth in a.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.projection import MIN_Z
from lift3d.geometry.sampling import normalizing_matrix

# Coordinates are kept within this: anything beyond 1 is outside, and farther is not more so.
_FAR_OUTSIDE = 2.0
# Where no depth in b is less than this multiple of that in a, no coordinate is far beyond.
_CLOSE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """Cameras that points are looked up in: ``K`` gives coordinates for ``grid_sample``."""

    K: Float64[np.ndarray, "view 3 3"]
    w2c: Float64[np.ndarray, "view 4 4"]

    @classmethod
    def of(cls, cameras: Sequence[Camera]) -> "Lookup":
        """Stack cameras."""
        K = [normalizing_matrix(one.size.height, one.size.width) @ one.K.numpy() for one in cameras]
        return cls(np.array(K).reshape(-1, 3, 3), np.array([one.w2c.numpy() for one in cameras]).reshape(-1, 4, 4))


def pencils(a: Camera, others: Lookup) -> Float64[np.ndarray, "view 3 4"]:
    """Return what takes (u, v, 1, disparity) of a to homogeneous coordinates of others, scaled to depth 1 in a.

    Composed in double precision, as the world may lie far from its origin; and in NumPy, which takes a tenth of the
    time for matrices this small.
    """
    w2a = a.w2c.numpy()
    rotation = others.w2c[:, :3, :3] @ w2a[:3, :3].T
    slope = others.K @ rotation @ np.linalg.inv(a.K.numpy())
    step = others.K @ (others.w2c[:, :3, 3:] - rotation @ w2a[:3, 3:])
    return np.concatenate([slope, step], axis=2)


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """The pencil of homographies induced by planes of constant z-depth in a.

    Homogeneous coordinates of b, scaled to depth 1 in a, are ``start + disparity · step``: the first two are those of
    ``grid_sample``, the third is the depth in b as a multiple of the depth in a. Coordinates lie apart in memory, so
    that every pass over them runs at full width.

    Source:
        Collins, A space-sweep approach to true multi-image matching, CVPR 1996; Hartley & Zisserman, Multiple View
        Geometry, 2nd ed., §13.1.
    """

    start: Float[Tensor, "3 row col"]
    step: Float[Tensor, "3"]

    @classmethod
    def between(
        cls,
        uv: Float[Tensor, "row col 2"],
        a: Camera,
        b: Camera,
    ) -> "Sweep":
        """Prepare the sweep of pixels of a through b."""
        return cls.through(uv, a, [b])[0]

    @classmethod
    def through(cls, uv: Float[Tensor, "row col 2"], a: Camera, others: Sequence[Camera]) -> list["Sweep"]:
        """Prepare the sweeps of pixels of a through others."""
        both = torch.from_numpy(pencils(a, Lookup.of(others))).to(uv.device, torch.float32)
        pixels = uv.reshape(-1, 2).float().T
        return [cls(torch.addmm(one[:, 2:3], one[:, :2], pixels).reshape(3, *uv.shape[:-1]), one[:, 3]) for one in both]

    def at(
        self, disparity: Float[Tensor, " plane #row #col"]
    ) -> tuple[Float[Tensor, "plane row col 2"], Float[Tensor, "plane row col"]]:
        """Return where pixels lie in b at given disparities, and the depth there as a multiple of that in a.

        Coordinates are for ``grid_sample(align_corners=False)``, far outside where a point is behind b.
        """
        shifts = disparity * self.step[:, None, None, None]
        z = self.start[2] + shifts[2]
        # A sum is least where both are. Elsewhere than on the host, to ask costs more than to mask what may not be.
        least = float(self.start[2].amin() + shifts[2].detach().amin()) if z.is_cpu else -1.0
        is_behind = z <= MIN_Z if least <= _CLOSE else None
        if is_behind is not None:
            z = z.clamp(min=MIN_Z)
        at = (self.start[:2, None] + shifts[:2]) / z
        if is_behind is not None:
            at = at.clamp_(-_FAR_OUTSIDE, _FAR_OUTSIDE).masked_fill(is_behind, _FAR_OUTSIDE)
        return at.movedim(0, -1), z
