"""What is wrong with the poses of a capture, told by matches that were found without them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from lift3d.domain.camera import Camera
from lift3d.geometry.rays import directions_z1
from lift3d.geometry.rigid import inverse
from lift3d.ingest.diagnosis.evidence import Evidence, PairEvidence
from lift3d.ingest.diagnosis.finding import Finding
from lift3d.ingest.diagnosis.rolling_shutter import motion, readout_errors
from lift3d.scenes.pose_conventions import CONVENTIONS, is_ahead, what_poses_would_fit

# Median distance of matches from epipolar lines, pixels at 360 rows: good poses have 0.1 to 0.6.
_OFF_PX, _GOOD_PX, _OTHERS_PX = 1.0, 0.6, 10.0
# Other focal lengths are tried where it is more than this, on so many pairs; they must leave half of it, and be others.
_EXACT_PX, _TRIED_PAIRS, _BETTER, _FOCAL_OFF = 0.1, 60, 0.5, 0.05
_FOCALS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 2.0, 2.5)
# Fewer views have no path to speak of. Rows that are read while the camera moves hurt from here on, pixels; the time
# from the first to the last by that from view to view, to be tried.
_FEWEST_VIEWS, _HARMLESS_PX = 6, 0.25
_READOUTS = tuple(sign * share for share in (0.03, 0.06, 0.125, 0.25, 0.5, 1.0) for sign in (-1, 1))
# Depth by sensor and by triangulation: the share by which their ratio may be off, and matches that tell.
_DEPTH_OFF, _DEPTHS, _TRIANGULATED_DEG = 0.1, 50, 2.0


def _convention(evidence: Evidence) -> Iterator[Finding]:
    keypoints, cameras = [look.keypoints for look in evidence.looks], [look.camera for look in evidence.looks]
    if said := what_poses_would_fit(keypoints, cameras):
        yield Finding("convention", "views do not fit their poses", said.rstrip("."))
        return
    own, c2w = _median(evidence), torch.stack([camera.c2w for camera in cameras]) if cameras else None
    if c2w is None or own < _EXACT_PX:
        return
    reread = [
        [replace(camera, w2c=pose) for camera, pose in zip(cameras, inverse(one.reread(c2w)), strict=True)]
        for one in CONVENTIONS
    ]
    errors = [_median(evidence, tried) if _are_ahead(evidence, tried) else np.inf for tried in reread]
    best = int(np.argmin(errors))
    if _is_better(errors[best], own):
        yield Finding(
            "convention",
            f"matches lie {own:.1f} px off the lines on which the poses put them, {errors[best]:.2f} px in another "
            "convention",
            f"The poses would fit {CONVENTIONS[best].said}",
        )


def _are_ahead(evidence: Evidence, cameras: Sequence[Camera]) -> bool:
    """Whether most matches meet before both cameras."""
    found = [is_ahead(one.uv, [cameras[view] for view in one.pair]) for one in evidence.well_seen]
    return bool(found) and float(torch.cat(found).float().mean()) > 0.5


def _rolling_shutter(evidence: Evidence) -> Iterator[Finding]:
    evidence = _thinned(evidence)
    own = _median(evidence)
    if own < _HARMLESS_PX or len(evidence.looks) < _FEWEST_VIEWS:
        return
    cameras = [look.camera for look in evidence.looks]
    moved = motion(cameras)

    def error(share: float) -> float:
        return _median_of(readout_errors(cameras, moved, evidence.seen, share))

    share, best = _least(error, _READOUTS, 0.5)
    if _is_better(best, own) and abs(share) > min(map(abs, _READOUTS)):
        off = np.flatnonzero(evidence.view_medians([float(one.median()) for one in evidence.errors()]) > _HARMLESS_PX)
        yield Finding(
            "rolling shutter",
            f"matches lie {own:.2f} px off the lines on which the poses put them, {best:.2f} px if rows were read one "
            f"after the other, {'first to last' if share > 0 else 'last to first'} over {abs(share):.2f} of the time "
            "from view to view",
            "Move more slowly, or stand still for each photograph; or leave out the views that moved fastest",
            tuple(evidence.looks[view].view for view in off.tolist()),
        )


def _focal(evidence: Evidence) -> Iterator[Finding]:
    evidence = _thinned(evidence)
    own = _median(evidence)
    if own < _EXACT_PX:
        return
    scale, error = _best_focal(evidence)
    if _is_better(error, own) and abs(scale - 1) > _FOCAL_OFF:
        yield Finding(
            "focal length",
            f"matches lie {own:.2f} px off the lines on which the poses put them, {error:.2f} px with focal lengths "
            f"{scale:.2f} times as long",
            "Correct the focal lengths. Were the images resized after they were calibrated?",
        )


def _poses(evidence: Evidence) -> Iterator[Finding]:
    """Views whose matches are of one epipolar geometry, but not of that of the poses."""
    looks = evidence.looks
    evidence = replace(evidence, seen=evidence.well_seen)
    per_view = evidence.view_medians([float(error.median()) for error in evidence.errors()])
    off = np.flatnonzero(per_view > _OFF_PX)
    if not len(off):
        return
    worst = float(per_view[off].max())
    yield Finding(
        "poses",
        f"{len(off)} of {len(looks)} views are off by {per_view[off].min():.1f} to {worst:.1f} px at "
        f"{looks[0].camera.size.height} rows; good poses by less than {_GOOD_PX} px",
        "Refine the poses (COLMAP's bundle adjuster), find them anew with lift3d ingest, or leave these views out"
        if worst < _OTHERS_PX
        else "Are these the poses of other pictures? Compare the order of poses and files, or find them anew",
        tuple(looks[view].view for view in off.tolist()),
    )


def _thinned(evidence: Evidence) -> Evidence:
    """As many pairs as are enough to try other cameras on."""
    return replace(evidence, seen=evidence.well_seen[:: -(-len(evidence.well_seen) // _TRIED_PAIRS) or 1])


def _median(evidence: Evidence, cameras: Sequence[Camera] | None = None) -> float:
    """Return how far off the matches of the median pair are, pixels; 0 without pairs."""
    return _median_of(replace(evidence, seen=evidence.well_seen).errors(cameras))


def _median_of(errors: Sequence[torch.Tensor]) -> float:
    return float(np.median([float(error.median()) for error in errors])) if errors else 0.0


def _is_better(error: float, own: float) -> bool:
    return error < min(_GOOD_PX, _BETTER * own)


def _best_focal(evidence: Evidence) -> tuple[float, float]:
    """Return by what all focal lengths would have to be scaled for matches to fit best, and how far off they are."""

    def error(scale: float) -> float:
        return _median(evidence, [_refocused(look.camera, scale) for look in evidence.looks])

    return _least(error, _FOCALS, 0.15)


def _least(error: Callable[[float], float], tried: Sequence[float], around: float) -> tuple[float, float]:
    """Return where an error is least, and that: around the best of what is tried, by a share of it either way."""
    from scipy.optimize import minimize_scalar

    roughly = min(tried, key=error)
    bounds = sorted((roughly / (1 + around), roughly * (1 + around)))
    found = minimize_scalar(error, bounds=bounds, method="bounded", options={"xatol": 5e-3})
    return float(found.x), float(found.fun)


def _refocused(camera: Camera, scale: float) -> Camera:
    K = camera.K.clone()
    K[0, 0] *= scale
    K[1, 1] *= scale
    return replace(camera, K=K)


def _depth(evidence: Evidence) -> Iterator[Finding]:
    """The sensor's depth against what the poses make of matches."""
    ratios = [ratio for one in evidence.well_seen for ratio in _ratios(evidence, one)]
    known = np.array(ratios)
    if len(known) < _DEPTHS:
        return
    unit = float(np.median(known))
    # Of a camera that hardly turns, matches fit any focal length, and depth comes out as many times too small.
    or_focal = "; if they are right, focal lengths are not" if 0.5 < unit < 2 else ""
    if abs(np.log(unit)) > _DEPTH_OFF:
        yield Finding(
            "depth",
            f"depth is {unit:.3g} times what the poses and {len(known)} matches say",
            f"Bring both to one unit: scale the depth by {1 / unit:.4g}, or the translations by {unit:.4g}{or_focal}",
        )


def _ratios(evidence: Evidence, one: PairEvidence) -> list[float]:
    """Return the sensor's depth as a multiple of the triangulated one, where rays meet under an angle."""
    a, b = (evidence.looks[view].camera for view in one.pair)
    if not bool(torch.isfinite(one.depths[0]).any()) or evidence.parallax_deg(one) < _TRIANGULATED_DEG:
        return []
    z_a = _triangulated_z(one, a, b)
    ratio = one.depths[0].double() / z_a
    return ratio[torch.isfinite(ratio) & (z_a > 0) & (ratio > 0)].tolist()


def _triangulated_z(one: PairEvidence, a: Camera, b: Camera) -> torch.Tensor:
    """Return camera z in a of matches: where rays come nearest, by the normal equations of their distance."""
    a2b = b.w2c @ a.c2w
    ray_a = directions_z1(one.uv[0].double(), a.K) @ a2b[:3, :3].T
    ray_b = directions_z1(one.uv[1].double(), b.K)
    # z_a · ray_a + t = z_b · ray_b, crossed with ray_b.
    left, right = torch.linalg.cross(ray_a, ray_b), torch.linalg.cross(a2b[:3, 3].expand_as(ray_b), ray_b)
    z: torch.Tensor = -(left * right).sum(1) / (left * left).sum(1).clamp(min=1e-18)
    return z


# Each explains what those after it would find.
CAUSES = (_convention, _rolling_shutter, _focal, _poses, _depth)
