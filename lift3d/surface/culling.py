"""Which views can show anything of what a camera sees, told by cameras and depths alone: no other need be asked.

What a camera sees between two depths is a convex piece of space with eight corners. If all of them lie outside one
plane that bounds what a view sees, so does the whole piece. Where views are summed and compared, those that were not
asked stand as zeros, so that every figure comes out, bit for bit, as if they had been.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

# Corners are outside only if they are so by this share of the numbers that their places are made of: a hundred times
# what float32 rounds, since that is what places between them are computed in.
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The views that are asked, in blocks of such that follow one another.

    Attributes:
        blocks: Where each block begins and ends. They are whole ones: what is computed of a view for all places of a
            camera is rounded as its block is laid out.
        views: Indices of the views in them.
        count: How many views there are.
    """

    blocks: tuple[slice, ...]
    views: Int[Tensor, " asked"]
    count: int

    @classmethod
    def of(cls, may_show: Bool[Tensor, " view"], length: int) -> "Asked":
        """Return the blocks of ``length`` views in which some views are."""
        count = len(may_show)
        # One at least: the largest of nothing is no number.
        found = sorted({place // length for place in torch.nonzero(may_show)[:, 0].tolist()}) or [0]
        blocks = tuple(slice(one * length, min(count, (one + 1) * length)) for one in found)
        views = [place for block in blocks for place in range(block.start, block.stop)]
        return cls(blocks, torch.tensor(views, dtype=torch.long), count)

    @classmethod
    def everyone(cls, count: int, length: int) -> "Asked":
        """Return all of so many views, in blocks of ``length``."""
        blocks = tuple(slice(start, min(count, start + length)) for start in range(0, count, length))
        return cls(blocks, torch.arange(count), count)

    @property
    def is_all(self) -> bool:
        """Whether every view is asked."""
        return len(self.views) == self.count

    def among_all(self, values: Shaped[Tensor, "point asked"]) -> Shaped[Tensor, "point view"]:
        """Return values of the views that are asked among zeros for all others."""
        if self.is_all:
            return values
        among = torch.zeros(self.count, len(values), dtype=values.dtype)
        return among.index_copy_(0, self.views, values.T).T


def corners_of(
    low: Float[Tensor, "*#view 2"],
    high: Float[Tensor, "*#view 2"],
    near: Float[Tensor, "*view"],
    far: Float[Tensor, "*view"],
) -> Float[Tensor, "*view 3 8"]:
    """Return what lies between two pixels and two depths: its corners, homogeneous pixels times depth."""
    u, v = (torch.stack([low[..., axis], high[..., axis]], dim=-1) for axis in (0, 1))
    u, v = u[..., [0, 1, 0, 1]], v[..., [0, 0, 1, 1]]
    pixel = torch.stack([u, v, torch.ones_like(u)], dim=-2)
    return torch.cat([pixel * near[..., None, None], pixel * far[..., None, None]], dim=-1)


def may_lie_inside(
    corners: Float[Tensor, "#view 3 8"],
    slope: Float[Tensor, "view 3 3"],
    offset: Float[Tensor, "view 3"],
    low: Float[Tensor, "#view 2"],
    high: Float[Tensor, "#view 2"],
    farthest: Float[Tensor, "#view"],
) -> Bool[Tensor, " view"]:
    """Whether any of what has these corners may lie on an image, between two pixels, and no farther than a depth.

    ``slope`` and ``offset`` take the corners to homogeneous pixels of the image times depth. NaN is inside.
    """
    places = slope @ corners + offset[..., None]
    size = slope.abs() @ corners.abs() + offset.abs()[..., None]
    (xy, z), (size_xy, size_z) = ((one[:, :2], one[:, 2:]) for one in (places, size))
    low, high, farthest = low[..., None], high[..., None], farthest[..., None, None]
    sides = torch.cat([xy - low * z, high * z - xy, z, farthest - z], dim=1)
    terms = torch.cat([size_xy + low.abs() * size_z, high.abs() * size_z + size_xy, size_z, size_z], dim=1)
    return ~(sides < -_ROUNDING * terms).all(2).any(1)
