"""Pictures from where somebody stands, painted from points of the surface: in any colours, two beside each other."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from lift3d.results.colours import heat_picture, to_bytes
from lift3d.viewer.raster import RasterPoints, Seen
from lift3d.viewer.transform import ViewerTransform
from lift3d.viewer.viewed_scene import Picture8, ViewedScene

_PAPER, _LINE = 255, (30, 30, 30)
# Pixels; gaps up to this wide lie between points of one surface.
_GAP = 5
# Depths of a picture, of which those far out would leave the others one colour.
_SHARES = (0.02, 0.98)


def raster_points(viewed: ViewedScene, to_page: ViewerTransform) -> RasterPoints:
    """Return the points of a scene as they are drawn into pictures."""
    xyz = to_page(viewed.cloud.xyz).float().T.contiguous()
    radius = (to_page.scale * viewed.surface.radius).float()
    return RasterPoints(xyz, radius, torch.arange(len(viewed.cloud)), viewed.surface.level)


def painted(seen: Seen, colours: UInt8[Tensor, "point 3"]) -> Picture8:
    """Return what is seen in the colours of its points, white where there is nothing."""
    # The last colour is that of no point, −1.
    palette = torch.cat([colours, torch.full((1, 3), _PAPER, dtype=torch.uint8)])
    return _mended(palette[seen.point].numpy(), (seen.point >= 0).numpy())


def _mended(picture: Picture8, is_seen: Bool[np.ndarray, "height width"]) -> Picture8:
    """Close small gaps between points, and take single pixels away that are unlike all around them."""
    mask = is_seen.astype(np.uint8)
    gap = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((_GAP, _GAP), np.uint8)) > mask
    if gap.any():
        share = cv2.blur(mask.astype(np.float32), (_GAP, _GAP))[gap]
        around = cv2.blur(np.where(is_seen[..., None], picture, 0).astype(np.float32), (_GAP, _GAP))[gap]
        picture[gap] = np.rint(around / np.maximum(share, 1e-6)[:, None])
    mended: Picture8 = np.asarray(cv2.medianBlur(picture, 3))
    return mended


def painted_depth(seen: Seen) -> Picture8:
    """Return depth in colours, near dark and far light, over what is in the picture."""
    known = seen.z_depth[seen.point >= 0]
    if not len(known):
        return np.full((*seen.point.shape, 3), _PAPER, np.uint8)
    known = known[:: max(1, len(known) // 20_000)]
    low, high = (float(known.quantile(share)) for share in _SHARES)
    picture = to_bytes(heat_picture(seen.z_depth, (low, max(high, low + 1e-6))))
    picture[(seen.point < 0).numpy()] = _PAPER
    return _mended(picture, (seen.point >= 0).numpy())


def beside(left: Picture8, right: Picture8, share: float) -> Picture8:
    """Return the left part of one picture and the rest of another, with a line between them."""
    column = round(share * left.shape[1])
    picture = np.concatenate([left[:, :column], right[:, column:]], axis=1)
    if 0 < column < left.shape[1]:
        cv2.line(picture, (column, 0), (column, left.shape[0] - 1), _LINE, 1)
    return picture


def kept_points(points: RasterPoints, is_shown: Tensor | None) -> RasterPoints:
    """Return those points that are shown; all if nothing is said."""
    if is_shown is None or bool(is_shown.all()):
        return points
    kept: Int[Tensor, " kept"] = torch.nonzero(is_shown[points.index])[:, 0]
    return points.only(kept)
