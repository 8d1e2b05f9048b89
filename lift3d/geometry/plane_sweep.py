"""Pixels of one camera followed through all depths into another: the map that every plane sweep iterates.

Letters: a is the view whose pixels are swept, b the view they are looked up in, disparity is 1 / z_depth in a.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.geometry.projection import MIN_Z
from lift3d.geometry.rigid import inverse
from lift3d.geometry.sampling import normalized_coordinates


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """The pencil of homographies induced by planes of constant z-depth in a.

    Homogeneous pixels of b, scaled to depth 1 in a, are ``start + disparity · step``; their third entry is the
    depth in b as a multiple of the depth in a.

    Source:
        Collins, A space-sweep approach to true multi-image matching, CVPR 1996; Hartley & Zisserman, Multiple View
        Geometry, 2nd ed., §13.1.
    """

    start: Float[Tensor, "row col 3"]
    step: Float[Tensor, "3"]
    height_b: int
    width_b: int

    @classmethod
    def between(
        cls,
        uv: Float[Tensor, "row col 2"],
        a: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
        b: tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]],
        size_b: tuple[int, int],
    ) -> "Sweep":
        """Prepare the sweep of pixels of a through b; cameras are composed in double precision.

        Args:
            uv: Pixels of a.
            a: (K, w2c) of the camera the pixels are in.
            b: (K, w2c) of the camera they are looked up in.
            size_b: Height and width of b's image.
        """
        a2b = b[1].double() @ inverse(a[1].double())
        homogeneous = torch.cat([uv.double(), torch.ones_like(uv[..., :1]).double()], dim=-1)
        slope = b[0].double() @ a2b[:3, :3] @ torch.linalg.inv(a[0].double())
        return cls((homogeneous @ slope.T).float(), (b[0].double() @ a2b[:3, 3]).float(), *size_b)

    def at(
        self, disparity: Float[Tensor, "plane #row #col"]
    ) -> tuple[Float[Tensor, "plane row col 2"], Float[Tensor, "plane row col"]]:
        """Return where the pixels lie in b at the given disparities.

        Returns:
            Coordinates for ``grid_sample(align_corners=False)``, 2 where a point is behind b or far outside, and the
            depth in b as a multiple of the depth in a.
        """
        x, y, z = (self.start[..., axis] + disparity * self.step[axis] for axis in range(3))
        safe_z = z.clamp(min=MIN_Z)
        uv = torch.stack([x / safe_z, y / safe_z], dim=-1)
        at = normalized_coordinates(uv, self.height_b, self.width_b).clamp(-2, 2)
        return torch.where((z > MIN_Z)[..., None], at, 2.0), safe_z
