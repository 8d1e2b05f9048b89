"""What views show by themselves: keypoints, sharpness, brightness; and what pairs of them show of the same places.

Matches of a pair are of one epipolar geometry that is found without its poses, so that they can judge these.
Letters: a, b are two views; uv pixels of a loaded frame, corner origin.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.domain.scene import Frame, Scene, View
from lift3d.errors import ImageError
from lift3d.geometry.rays import directions_z1
from lift3d.geometry.sampling import nearest_cells
from lift3d.overlap import ahead
from lift3d.scenes.tracks import TRACKED_HEIGHT
from lift3d.scenes.tracks_matching import Keypoints, distinct_matches, epipolar_error, find_keypoints, neighbour_pairs

Report = Callable[[int, int], None]
Pair = tuple[int, int]
Pixels = Float[Tensor, "match 2"]

# Of more views every second, third, … is looked at: seconds, not minutes, whatever the capture.
MOST_VIEWS = 120
# Views so far on in the sequence are compared, as are neighbours by their poses, so many pairs a view.
_STEPS, _NEIGHBOURS = (1, 2, 4), 2
# Fewer matches may be of one epipolar geometry by chance; so far may they lie from its lines, pixels.
FEWEST_MATCHES, _INLIER_PX, _TRIALS = 16, 1.0, 2000
# Scales of which the gradients of an edge tell how blurred it is, pixels.
_FINE_PX, _COARSE_PX = 0.7, 1.4
_GAMMA, _PATCH_PX = 2.2, 9


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a view shows, at the height at which it was loaded.

    Attributes:
        keypoints: Of the whole image, masked or not.
        is_kept: Which keypoints lie where pixels may vote.
        brightness: Mean linear intensity around each keypoint.
        z_depth: Sensor's depth at each keypoint, NaN where unknown.
        blur_px: Radius (σ) of the blur of edges.
        kept: Share of pixels that may vote, in the middle quarter of the image and near its border.
    """

    view: ViewId
    camera: Camera
    keypoints: Keypoints
    is_kept: Bool[Tensor, " keypoint"]
    brightness: Float[Tensor, " keypoint"]
    z_depth: Float[Tensor, " keypoint"]
    blur_px: float
    kept: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class PairEvidence:
    """Matches of two views (positions in the looks): those of one epipolar geometry, and of what masks hide.

    ``gain`` is log of the brightness of b by that of a; ``depths`` the sensor's at the matches.
    """

    pair: Pair
    uv: tuple[Pixels, Pixels]
    depths: Float[Tensor, "2 match"]
    gain: float
    kept_matches: int
    hidden: tuple[Float[Tensor, "hidden 2"], Float[Tensor, "hidden 2"]]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What was looked at of a scene; ``pairs`` are those that were compared, ``seen`` those with matches enough."""

    looks: Sequence[Look]
    pairs: Sequence[Pair]
    seen: Sequence[PairEvidence]
    unreadable: Mapping[ViewId, str]

    @property
    def well_seen(self) -> list[PairEvidence]:
        """Pairs with matches enough where masks keep them."""
        return [one for one in self.seen if len(one.uv[0]) >= FEWEST_MATCHES]

    def errors(self, cameras: Sequence[Camera] | None = None) -> list[Float[Tensor, " match"]]:
        """Return per pair how far its matches are from the epipolar lines of the poses, pixels of the loaded frames."""
        given = [look.camera for look in self.looks] if cameras is None else cameras
        return [epipolar_error(*one.uv, (given[one.pair[0]], given[one.pair[1]])) for one in self.seen]

    def view_medians(self, of_pairs: Sequence[float]) -> Float[ndarray, " view"]:
        """Return for each view the median of what its pairs say; NaN where it has none."""
        said: list[list[float]] = [[] for _ in self.looks]
        for one, value in zip(self.seen, of_pairs, strict=True):
            for view in one.pair:
                said[view].append(value)
        return np.array([np.median(values) if values else np.nan for values in said])

    def parallax_deg(self, one: PairEvidence) -> float:
        """Return the median angle between the rays of matches, as the poses have it."""
        a, b = (self.looks[view].camera for view in one.pair)
        rays = [
            directions_z1(uv.double(), camera.K) @ camera.c2w[:3, :3].T
            for uv, camera in zip(one.uv, (a, b), strict=True)
        ]
        cosines = (rays[0] * rays[1]).sum(1) / (rays[0].norm(dim=1) * rays[1].norm(dim=1))
        return float(torch.rad2deg(torch.acos(cosines.clamp(-1, 1))).median())


def gather(scene: Scene, report: Report) -> Evidence:
    """Look at the views of a scene, every k-th of many, and at pairs of them; views that do not decode are named."""
    views = scene.views[:: -(-len(scene.views) // MOST_VIEWS)]
    looks, unreadable = [], {}
    for place, (view, look) in enumerate(zip(views, ahead(_look, views), strict=True)):
        try:
            looks.append(look())
        except ImageError as error:
            unreadable[view.id] = str(error)
        report(place + 1, 2 * len(views))
    pairs, seen = _pairs([look.camera for look in looks]), []
    for place, compared in enumerate(ahead(partial(_compare, looks), pairs)):
        found = compared()
        if found is not None:
            seen.append(found)
        report(len(views) * (len(pairs) + place + 1) // len(pairs), 2 * len(views))
    return Evidence(looks, pairs, seen, unreadable)


def _pairs(cameras: Sequence[Camera]) -> list[Pair]:
    """Return pairs along the sequence, and of neighbours by their poses: either may be wrong."""
    count = len(cameras)
    along = {(a, a + step) for step in _STEPS for a in range(count - step)}
    near = neighbour_pairs(cameras) if count > 1 else []
    return sorted(along.union(near[:: max(1, len(near) // (_NEIGHBOURS * count))]))


def _look(view: View) -> Look:
    import cv2  # A scene is planned without it.

    frame = view.load(min(TRACKED_HEIGHT, view.camera.size.height))
    keypoints = find_keypoints(replace(frame, is_valid=torch.ones_like(frame.is_valid)))
    size = frame.camera.size
    at = nearest_cells(keypoints.uv, size.height, size.width).clamp(min=0)
    linear = frame.image.clamp(0, 1).mean(0).pow(_GAMMA).numpy()
    around = torch.from_numpy(cv2.blur(linear, (_PATCH_PX, _PATCH_PX)))
    kernel = np.ones((_PATCH_PX, _PATCH_PX), np.uint8)
    is_inner = cv2.erode(frame.is_valid.numpy().astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE)
    z_depth = torch.full(tuple(frame.is_valid.shape), torch.nan) if frame.z_depth is None else frame.z_depth
    return Look(
        view=view.id,
        camera=frame.camera,
        keypoints=keypoints,
        is_kept=torch.from_numpy(is_inner).reshape(-1)[at] > 0,
        brightness=around.reshape(-1)[at],
        z_depth=z_depth.float().reshape(-1)[at],
        blur_px=_blur_px(frame),
        kept=_kept(frame.is_valid),
    )


def _blur_px(frame: Frame) -> float:
    """Return the radius of the blur of edges: their gradients at two scales fall as 1/√(σ² + scale²).

    Source:
        Elder & Zucker, Local Scale Control for Edge Detection and Blur Estimation, PAMI 1998: an edge's blur adds to
        that of the filter in squares.
    """
    import cv2

    grey = (255 * frame.image.clamp(0, 1)).mean(0).numpy()
    inner = cv2.erode(frame.is_valid.numpy().astype(np.uint8), np.ones((_PATCH_PX, _PATCH_PX), np.uint8)) > 0
    powers = []
    for scale in (_FINE_PX, _COARSE_PX):
        smooth = cv2.GaussianBlur(grey, (0, 0), scale)
        slopes = cv2.Sobel(smooth, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(smooth, cv2.CV_32F, 0, 1) ** 2
        powers.append(float(slopes[inner].mean()) if inner.any() else 0.0)
    if powers[1] <= 0:
        return float("nan")
    ratio = min(max(powers[0] / powers[1], 1.01), (_COARSE_PX / _FINE_PX) ** 2)
    return float(np.sqrt((_COARSE_PX**2 - ratio * _FINE_PX**2) / (ratio - 1)))


def _kept(is_valid: Bool[Tensor, "height width"]) -> tuple[float, float]:
    height, width = is_valid.shape
    middle = torch.zeros_like(is_valid)
    middle[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    border = torch.ones_like(is_valid)
    border[height // 8 : height - height // 8, width // 8 : width - width // 8] = False
    return float(is_valid[middle].float().mean()), float(is_valid[border].float().mean())


def _compare(looks: Sequence[Look], pair: Pair) -> PairEvidence | None:
    """Return the matches of two views; None where they are too few."""
    sides = [looks[view] for view in pair]
    matches = distinct_matches(sides[0].keypoints, sides[1].keypoints)
    of_each = [matches[:, side] for side in (0, 1)]
    is_kept = sides[0].is_kept[of_each[0]] & sides[1].is_kept[of_each[1]]
    is_hidden = ~sides[0].is_kept[of_each[0]] & ~sides[1].is_kept[of_each[1]]
    uv_a, uv_b = (look.keypoints.uv[index] for look, index in zip(sides, of_each, strict=True))
    hidden = (uv_a[is_hidden], uv_b[is_hidden])
    kept = int(is_kept.sum())
    is_one = torch.zeros(kept, dtype=torch.bool)
    if kept >= FEWEST_MATCHES:
        is_one = _of_one_geometry(uv_a[is_kept], uv_b[is_kept])
    if int(is_one.sum()) < FEWEST_MATCHES and len(hidden[0]) < FEWEST_MATCHES:
        return None
    values = [torch.stack([look.brightness[i], look.z_depth[i]]) for look, i in zip(sides, of_each, strict=True)]
    (bright_a, z_a), (bright_b, z_b) = (one[:, is_kept][:, is_one] for one in values)
    ratios = ((bright_b + 1e-3) / (bright_a + 1e-3)).log()
    gain = float(ratios.median()) if len(ratios) else 0.0
    uv = (uv_a[is_kept][is_one], uv_b[is_kept][is_one])
    return PairEvidence(pair, uv, torch.stack([z_a, z_b]), gain, kept, hidden)


def _of_one_geometry(uv_a: Pixels, uv_b: Pixels) -> Bool[Tensor, " match"]:
    """Which matches are of the epipolar geometry that most are of.

    Source:
        Barath et al., MAGSAC++, CVPR 2020 (OpenCV's implementation, which begins with the same seed each time).
    """
    import cv2

    try:
        _, inliers = cv2.findFundamentalMat(uv_a.numpy(), uv_b.numpy(), cv2.USAC_MAGSAC, _INLIER_PX, 0.999, _TRIALS)
    except cv2.error:
        inliers = None  # what it says of matches that determine none
    return torch.zeros(len(uv_a), dtype=torch.bool) if inliers is None else torch.from_numpy(inliers).reshape(-1) > 0
