"""Pixels of one camera followed through all depths into another: the map that every plane sweep iterates.

Letters: a is the view whose pixels are swept, b the view they are looked up in, disparity is 1 / z_depth in a.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.geometry.projection import MIN_Z
from lift3d.geometry.sampling import normalizing_matrix

# Coordinates are kept within this: anything beyond 1 is outside, and farther is not more so.
_FAR_OUTSIDE = 2.0
# Where no depth in b is less than this multiple of that in a, no coordinate is far beyond.
_CLOSE = 0.01


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
        a: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
        b: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
        size_b: tuple[int, int],
    ) -> "Sweep":
        """Prepare the sweep of pixels of a through b of (height, width); cameras are (K, w2c), composed in double."""
        # Matrices this small are a tenth of the time in NumPy.
        (K_a, w2a), (K_b, w2b) = ([one.double().numpy() for one in camera] for camera in (a, b))
        rotation = w2b[:3, :3] @ w2a[:3, :3].T
        project = normalizing_matrix(*size_b) @ K_b
        slope, step = project @ rotation @ np.linalg.inv(K_a), project @ (w2b[:3, 3] - rotation @ w2a[:3, 3])
        both = torch.tensor(np.column_stack([slope, step]), dtype=torch.float32, device=uv.device)
        start = torch.addmm(both[:, 2:3], both[:, :2], uv.reshape(-1, 2).float().T)
        return cls(start.reshape(3, *uv.shape[:-1]), both[:, 3])

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
