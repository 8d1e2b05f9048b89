"""Things of a scene: masks with names, as points, with what each view shows of them and how far they may be trusted."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.results.cloud import PointsInView, cells_at, points_in_views
from lift3d.results.masks.scene_masks import SceneMasks
from lift3d.results.questions.thing import STRAY, Shown, Thing, Vector

# Points that lie farther from all others than so many spacings are no part of a thing.
_APART = 2.5
# A thing has so many points at least, and a view shows it by so many of them.
FEWEST_POINTS, FEWEST_SEEN = 30, 12
# Within so many pixels of its border a picture cuts off what it shows.
_BORDER_PX = 2.0
# Cameras whose own right-hand sides lie in one plane but for this share tell where up is by it.
_LEVEL = 0.1


def things_of(masks: SceneMasks, names: Mapping[int, str], views: Sequence[ViewId], up: Vector | None) -> list[Thing]:
    """Return the masks that have names as things, in the order of their ids.

    Not those of fewer points than 30, nor those of which no view shows 12 points.
    """
    sizes = torch.bincount(masks.ids[masks.ids >= 0], minlength=len(masks))
    members = {number: _joined(masks, number) for number in sorted(names) if sizes[number] >= FEWEST_POINTS}
    members = {number: own for number, own in members.items() if len(own) >= FEWEST_POINTS}
    shown: dict[int, dict[ViewId, Shown]] = {number: {} for number in members}
    count = len(masks.ids)
    is_open, differs, seen_count = np.zeros(count, dtype=bool), np.zeros(count), np.zeros(count)
    is_closed = np.zeros(count, dtype=bool)
    for view, seen in zip(views, points_in_views(masks.lifted, masks.surface, masks.points, views), strict=True):
        is_seen, z_depth = (seen.quality > 0).numpy(), _depth_of(masks, seen)
        ends = _ends(seen, z_depth, masks.surface.tolerance)
        is_open |= is_seen & ends
        is_closed |= is_seen & ~ends
        own = seen.depth.at(torch.nan_to_num(seen.uv).float()).double().numpy()
        differs += np.where(is_seen, np.abs(own - z_depth), 0.0)
        seen_count += is_seen
        for number, at in members.items():
            if is_seen[at].sum() >= FEWEST_SEEN:
                shown[number][view] = Shown(seen.camera, is_seen[at], seen.uv.numpy()[at], z_depth[at])
    differs /= np.maximum(seen_count, 1)
    xyz, normals = masks.xyz.numpy(), masks.points.normals.numpy()
    return [
        Thing(
            number,
            names[number],
            xyz[at],
            normals[at],
            (is_open & ~is_closed)[at],
            masks.points.spacing / 2 + float(np.median(differs[at])),
            masks.points.spacing,
            _footing(masks, number, at, up),
            up,
            shown[number],
        )
        for number, at in members.items()
        if shown[number]
    ]


def up_of(cameras: Sequence[Camera]) -> Vector | None:
    """Return where up is, of length 1: photographs are taken level, so the cameras' right-hand sides lie in one plane.

    None if they do not, or all look the same way and some other plane would do as well.
    """
    right = np.stack([one.c2w[:3, 0].numpy() for one in cameras])
    own = -np.stack([one.c2w[:3, 1].numpy() for one in cameras]).mean(0)
    spread, axes = np.linalg.eigh(right.T @ right / len(right))
    if spread[1] > 0 and spread[0] < _LEVEL * spread[1]:
        up: Vector = axes[:, 0] * (1 if axes[:, 0] @ own > 0 else -1)
        return up
    return None


def _footing(masks: SceneMasks, number: int, at: Int[ndarray, " point"], up: Vector | None) -> float:
    from scipy.spatial import cKDTree

    if up is None:
        return np.inf
    xyz, spacing = masks.xyz.numpy(), masks.points.spacing
    along = xyz @ up
    low = np.quantile(along[at], STRAY) + spacing
    lowest, others = xyz[at][along[at] < low], xyz[(masks.ids != number).numpy() & (along < low)]
    return float(np.median(cKDTree(others).query(lowest)[0])) / spacing if len(others) else np.inf


def _joined(masks: SceneMasks, number: int) -> Int[ndarray, " point"]:
    """Return the points of the largest piece of a mask."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    own = torch.nonzero(masks.ids == number)[:, 0].numpy()
    pairs = cKDTree(masks.xyz.numpy()[own]).query_pairs(_APART * masks.points.spacing, output_type="ndarray")
    beside = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(own), len(own)))
    piece = connected_components(beside, directed=False)[1]
    largest: Int[ndarray, " point"] = own[piece == np.bincount(piece).argmax()]
    return largest


def _depth_of(masks: SceneMasks, seen: PointsInView) -> Float[ndarray, " point"]:
    row = seen.camera.w2c[2]
    z_depth: Float[ndarray, " point"] = (masks.xyz @ row[:3] + row[3]).numpy()
    return z_depth


def _ends(seen: PointsInView, z_depth: Float[ndarray, " point"], tolerance: float) -> Bool[ndarray, " point"]:
    """Whether what a view shows of a surface ends beside points: at its border, or behind something nearer."""
    size, uv = seen.camera.size, seen.uv.numpy()
    border = _BORDER_PX + max(seen.depth.grid.stride_u, seen.depth.grid.stride_v) / 2
    is_beside = ((uv < border) | (uv > np.array([size.width, size.height]) - border)).any(1)
    cell = cells_at(seen.depth.grid, seen.uv.nan_to_num(0.0))
    nearest = -F.max_pool2d(-seen.depth.z_depth.nan_to_num(torch.inf)[None], 3, 1, 1)
    is_behind = nearest.flatten()[cell].numpy() < z_depth * (1 - 2 * tolerance)
    return np.asarray(is_beside | is_behind)
