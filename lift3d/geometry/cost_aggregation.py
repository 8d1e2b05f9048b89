"""From noisy matching costs to smooth ones that keep the edges of the image.

Letters: a cost volume has a cost per plane and cell; the guide image is the colour of the view the volume belongs to.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.geometry.box_mean import BoxMean

# Planes filtered at once, to stay in cache.
PLANE_TILE = 8


def guided_filter(
    cost: Float[Tensor, "plane row col"], color: Float[Tensor, "3 row col"], radius: int, epsilon: float
) -> Float[Tensor, "plane row col"]:
    """Average costs over windows, within each window as a linear function of luminance.

    Windows are ``2 · radius + 1`` cells wide; one with a variance of luminance below ``epsilon`` is flat.

    Source:
        He, Sun & Tang, Guided image filtering, PAMI 2013, eq. 5, 6 and 8; on cost volumes: Rhemann et al., CVPR 2011.
    """
    luminance = color.mean(0)
    rows, cols = luminance.shape
    box = BoxMean(rows, cols, radius)
    mean = box(luminance)
    variance = box(luminance * luminance) - mean * mean
    tiles = []
    for tile in torch.split(cost, PLANE_TILE):
        tile_mean = box(tile)
        slope = (box(tile * luminance) - tile_mean * mean).div_(variance + epsilon)
        offset = tile_mean.sub_(slope * mean)
        tiles.append(box(slope).mul_(luminance).add_(box(offset)))
    return torch.cat(tiles)


def lowest(
    cost: Float[Tensor, "plane row col"],
) -> tuple[Float[Tensor, "row col"], Int[Tensor, "1 row col"]]:
    """Return where among the planes the cost is lowest, by a parabola through three of them, and at which plane."""
    # The first of several, as argmin finds it in thrice the time.
    plane = cost.min(0, keepdim=True).indices
    inner = plane.clamp(1, len(cost) - 2)
    before, here, after = (cost.gather(0, inner + step)[0] for step in (-1, 0, 1))
    curvature = before - 2 * here + after
    shift = ((before - after) / (2 * curvature.clamp(min=1e-9))).clamp_(-0.5, 0.5)
    is_inner = (inner == plane)[0] & (curvature > 0)
    return plane[0] + torch.where(is_inner, shift, 0.0), plane


def semi_global(
    cost: Float[Tensor, "view plane row col"],
    color: Float[Tensor, "view 3 row col"],
    penalties: tuple[float, float],
    edge_scale: float,
) -> Float[Tensor, "view plane row col"]:
    """Return the mean, over both horizontal and both vertical directions, of the cheapest path of planes to each cell.

    Views do not touch one another; side by side they take fewer and longer passes. Penalties are the price of a step by
    one plane and of a larger jump, which across an edge of the image is as cheap as a step: at a difference of colour
    of ``edge_scale`` it has fallen by 1/e.

    Source:
        Hirschmüller, Stereo processing by semiglobal matching and mutual information, PAMI 2008, eq. 13.
    """
    views, _, rows, cols = cost.shape
    down = _paths(
        cost.permute(2, 1, 0, 3).flatten(2), color.permute(2, 1, 0, 3).flatten(2), penalties, edge_scale
    ).reshape(rows, -1, views, cols)
    right = _paths(
        cost.permute(3, 1, 0, 2).flatten(2), color.permute(3, 1, 0, 2).flatten(2), penalties, edge_scale
    ).reshape(cols, -1, views, rows)
    return (down.permute(2, 1, 0, 3) + right.permute(2, 1, 3, 0)) / 4


def _paths(
    cost: Float[Tensor, "step plane lane"],
    color: Float[Tensor, "step 3 lane"],
    penalties: tuple[float, float],
    edge_scale: float,
) -> Float[Tensor, "step plane lane"]:
    """Return the sum of the path costs forwards and backwards along the first axis."""
    small, large = penalties
    # Both directions run side by side, the second on the mirrored volume, between planes that no path takes.
    steps, planes, lanes = cost.shape
    both = torch.full((steps, 2, planes + 2, lanes), torch.inf)
    paths = both[:, :, 1:-1]
    paths[:, 0], paths[:, 1] = cost, cost.flip(0)
    contrast = (color[1:] - color[:-1]).abs().mean(1)
    jump = small + (large - small) * torch.exp(-contrast / edge_scale)
    jumps = torch.stack([jump, jump.flip(0)], dim=1)[:, :, None]
    for before, path, price in zip(both[:-1], paths[1:], jumps, strict=True):
        # The cheapest path to each cell is taken from all, so that sums do not grow.
        relative = before - before.amin(1, keepdim=True)
        stepped = relative + small
        best = torch.minimum(stepped[:, :-2], stepped[:, 2:])
        torch.minimum(best, relative[:, 1:-1], out=best)
        path += torch.minimum(best, price, out=best)
    return paths[:, 0] + paths[:, 1].flip(0)
