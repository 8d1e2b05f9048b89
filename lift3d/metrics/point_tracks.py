"""How well points are tracked: TAPVid-3D's 3D-AJ, APD and occlusion accuracy, and TAP-Vid's pixels.

Letters: δ is a threshold in pixels; at a point of depth Z, f the focal length, it is a ball of radius δ · Z / f.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from lift3d.errors import ShapeError

# Of an image whose shorter side has so many pixels.
THRESHOLDS_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
RESOLUTION = 256

Scaling = Literal["median", "none"]


@dataclass(frozen=True, slots=True)
class TrackScores:
    """Figures of tracks, all in [0, 1] but the scale; NaN where the truth shows no point.

    Attributes:
        jaccard: Mean over thresholds of true positives / (visible in truth + false positives): AJ.
        within: Mean over thresholds of the share of places visible in truth that are near enough, whether or not they
            are said to be visible: APD, in pixels δ_avg.
        occlusion: Share of places whose visibility is right: OA.
        scale: What predicted points were multiplied by.
    """

    jaccard: float
    within: float
    occlusion: float
    scale: float


def track_scores(
    xyz: Float[ndarray, "view point 3"],
    is_visible: Bool[ndarray, "view point"],
    true_xyz: Float[ndarray, "view point 3"],
    true_visible: Bool[ndarray, "view point"],
    focal_px: float | Float[ndarray, " view"],
    scaling: Scaling = "median",
) -> TrackScores:
    """Return the figures of TAPVid-3D.

    Args:
        xyz: Predicted points in the frame of each view's camera; NaN where there is none, which is near nothing.
        is_visible: Where they are said to be visible.
        true_xyz: The truth, likewise.
        true_visible: The truth, likewise.
        focal_px: Focal length (the geometric mean of both) in pixels of an image whose shorter side is RESOLUTION.
        scaling: ``median`` multiplies all points of a scene by the median distance of true ones over that of predicted
            ones, of places that are visible in both; ``none`` takes them as they are.

    Raises:
        ShapeError: If arrays do not fit together.

    Source:
        Koppula et al., TAPVid-3D, NeurIPS 2024, §4 (3D-AJ, APD, OA, thresholds by depth, global median scaling).
    """
    _check(xyz, is_visible, true_xyz, true_visible)
    scale = 1.0
    both = is_visible & true_visible & np.isfinite(xyz).all(-1)
    if scaling == "median" and both.any():
        far = float(np.median(np.linalg.norm(xyz[both], axis=-1)))
        scale = float(np.median(np.linalg.norm(true_xyz[both], axis=-1))) / far if far > 0 else 1.0
    apart = np.linalg.norm(scale * xyz - true_xyz, axis=-1)
    return _scores(apart, true_xyz[..., 2] / np.reshape(focal_px, (-1, 1)), is_visible, true_visible, scale)


def pixel_scores(
    uv: Float[ndarray, "view point 2"],
    is_visible: Bool[ndarray, "view point"],
    true_uv: Float[ndarray, "view point 2"],
    true_visible: Bool[ndarray, "view point"],
) -> TrackScores:
    """Return the figures of TAP-Vid, of pixels of an image whose shorter side is RESOLUTION; ShapeError as above.

    Source:
        Doersch et al., TAP-Vid, NeurIPS 2022, §3 (AJ, δ_avg, OA).
    """
    _check(uv, is_visible, true_uv, true_visible)
    apart = np.linalg.norm(uv - true_uv, axis=-1)
    return _scores(apart, np.ones_like(apart), is_visible, true_visible, 1.0)


def median_pixel_error(
    uv: Float[ndarray, "view point 2"],
    true_uv: Float[ndarray, "view point 2"],
    true_visible: Bool[ndarray, "view point"],
) -> float:
    """Return the median distance of pixels at places visible in truth; where none is predicted it is infinite."""
    apart = np.linalg.norm(uv - true_uv, axis=-1)[true_visible]
    return float(np.median(np.nan_to_num(apart, nan=np.inf))) if len(apart) else float("nan")


def _scores(
    apart: Float[ndarray, "view point"],
    pixel: Float[ndarray, "view point"],
    is_visible: Bool[ndarray, "view point"],
    true_visible: Bool[ndarray, "view point"],
    scale: float,
) -> TrackScores:
    visible = float(true_visible.sum())
    if not visible:
        return TrackScores(float("nan"), float("nan"), float((is_visible == true_visible).mean()), scale)
    jaccard, within = [], []
    for threshold in THRESHOLDS_PX:
        # A comparison with NaN is false: no point is near nothing.
        is_right = (apart < threshold * pixel) & true_visible
        false_positives = float((is_visible & ~is_right).sum())
        jaccard.append(float((is_right & is_visible).sum()) / (visible + false_positives))
        within.append(float(is_right.sum()) / visible)
    return TrackScores(
        float(np.mean(jaccard)), float(np.mean(within)), float((is_visible == true_visible).mean()), scale
    )


def _check(
    places: Float[ndarray, "view point axis"],
    is_visible: Bool[ndarray, "view point"],
    true_places: Float[ndarray, "view point axis"],
    true_visible: Bool[ndarray, "view point"],
) -> None:
    shape = true_places.shape
    if places.shape != shape or not is_visible.shape == true_visible.shape == shape[:2] or not true_visible.size:
        raise ShapeError(
            f"Tracks of shape {places.shape} with visibility {is_visible.shape} do not fit true ones of shape {shape} "
            f"with visibility {true_visible.shape}; expected the same views and points, at least one of each."
        )
