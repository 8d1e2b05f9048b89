"""Pixels of one camera followed through all depths into another: the map that every plane sweep iterates.

Letters: a is the view whose pixels are swept, b the view they are looked up in, disparity is 1 / z_depth in a.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.geometry.projection import MIN_Z
from lift3d.geometry.rigid import inverse
from lift3d.geometry.sampling import normalizing_matrix

# Coordinates are kept within this: anything beyond 1 is outside, and farther is not more so.
_FAR_OUTSIDE = 2.0


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
        a2b = b[1].double() @ inverse(a[1].double())
        project = normalizing_matrix(*size_b) @ b[0].double()
        slope = (project @ a2b[:3, :3] @ torch.linalg.inv(a[0].double())).to(uv.device, torch.float32)
        start = torch.addmm(slope[:, 2:], slope[:, :2], uv.reshape(-1, 2).float().T)
        return cls(start.reshape(3, *uv.shape[:-1]), (project @ a2b[:3, 3]).float())

    def at(
        self, disparity: Float[Tensor, " plane #row #col"]
    ) -> tuple[Float[Tensor, "plane row col 2"], Float[Tensor, "plane row col"]]:
        """Return where pixels lie in b at given disparities, and the depth there as a multiple of that in a.

        Coordinates are for ``grid_sample(align_corners=False)``, far outside where a point is behind b.
        """
        x, y, z = (self.start[axis] + disparity * self.step[axis] for axis in range(3))
        # Elsewhere than on the host, to ask costs more than to mask what may not be there.
        is_behind = z <= MIN_Z if not z.is_cpu or float(z.detach().amin()) <= MIN_Z else None
        if is_behind is not None:
            z = z.clamp(min=MIN_Z)
        at = torch.stack([x / z, y / z]).clamp_(-_FAR_OUTSIDE, _FAR_OUTSIDE)
        if is_behind is not None:
            at = at.masked_fill(is_behind, _FAR_OUTSIDE)
        return at.movedim(0, -1), z
