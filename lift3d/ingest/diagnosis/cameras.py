"""What is wrong with the cameras of a capture: too few, too far apart, on one spot, or not those of its pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene
from lift3d.geometry.rays import directions_z1
from lift3d.geometry.rigid import inverse
from lift3d.ingest.diagnosis.evidence import Evidence, PairEvidence
from lift3d.ingest.diagnosis.finding import Finding
from lift3d.scenes.pose_conventions import CONVENTIONS, is_ahead, what_poses_would_fit

# Each spot should be seen by four or five views; so many views that were listed may be missing.
_FEWEST_VIEWS, _MISSING_SHARE = 6, 0.1
# A view or two that share nothing with others are lost, and hurt nothing.
_FEW_ALONE, _ALONE_SHARE = 1, 0.03
# A step of the path that is longer than this many usual ones leaves a gap.
_GAP = 8.0
# Depth shows only where rays meet under an angle: the widest tenth of the pairs must have this one.
_PARALLAX_DEG, _WIDE_SHARE = 0.7, 0.9
# Median distance of matches from epipolar lines, pixels at 360 rows: good poses have 0.1 to 0.6.
_OFF_PX, _GOOD_PX, _OTHERS_PX = 1.0, 0.6, 10.0
# Other focal lengths are tried where it is more than this, on so many pairs; they must leave half of it, and be others.
_EXACT_PX, _FOCAL_PAIRS, _BETTER, _FOCAL_OFF = 0.1, 60, 0.5, 0.05
_FOCALS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 2.0, 2.5)
# Depth by sensor and by triangulation: the share by which their ratio may be off, and matches that tell.
_DEPTH_OFF, _DEPTHS, _TRIANGULATED_DEG = 0.1, 50, 2.0


def findings(scene: Scene, evidence: Evidence) -> Iterator[Finding]:
    """Yield what is wrong with the cameras; of poses that do not fit only the likeliest cause."""
    yield from _views(scene, evidence)
    yield from _gap(scene)
    # Each explains what those after it would find.
    for cause in (_rotation, _convention, _focal, _poses, _depth):
        found = next(cause(evidence), None)
        if found is not None:
            yield found
            return


def _views(scene: Scene, evidence: Evidence) -> Iterator[Finding]:
    count, dropped = len(scene.views), scene.dropped
    unreadable = tuple(evidence.unreadable) + tuple(one.id for one in dropped)
    listed = len(evidence.looks) + len(evidence.unreadable) + len(dropped)
    if len(unreadable) > _MISSING_SHARE * listed:
        why = next(iter(evidence.unreadable.values()), "") or dropped[0].message
        yield Finding(
            "missing views",
            f"{len(unreadable)} of {count + len(dropped)} listed views cannot be used, as {why.rstrip('.')}",
            "Bring their files, or go on with what is left",
            unreadable,
        )
    if len(evidence.looks) < _FEWEST_VIEWS:
        yield Finding(
            "few views",
            f"{count} views; from photographs alone each spot should be seen by four or five",
            "Take more, or give depth: --geometry 'planar?prior=OPERATOR' with a network of depth helps",
        )
    partners = np.zeros(len(evidence.looks), int)
    for one in evidence.well_seen:
        partners[list(one.pair)] += 1
    alone = np.flatnonzero(partners == 0)
    if len(alone) > max(_FEW_ALONE, _ALONE_SHARE * len(partners)) or (len(alone) and len(partners) < _FEWEST_VIEWS):
        yield Finding(
            "no overlap",
            f"{len(alone)} of {len(partners)} views share no places with those near them that could be found again",
            "Take photographs between them, by smaller steps; plain walls, glass and water have no places to find",
            tuple(evidence.looks[view].view for view in alone.tolist()),
        )


def _gap(scene: Scene) -> Iterator[Finding]:
    """A step of the path that is far longer than the usual one, and leads nowhere near another view."""
    centers = torch.stack([view.camera.center for view in scene.views])
    if len(centers) < _FEWEST_VIEWS:
        return
    steps = (centers[1:] - centers[:-1]).norm(dim=1)
    usual, longest = float(steps.median()), int(steps.argmax())
    between = torch.cdist(centers[: longest + 1], centers[longest + 1 :]).min()
    if usual > 0 and float(between) > _GAP * usual:
        ends = (scene.views[longest].id, scene.views[longest + 1].id)
        yield Finding(
            "gap",
            f"the path jumps by {float(steps[longest]) / usual:.0f} usual steps, and no view bridges the two parts",
            "What lies between is not seen: take photographs there, or lift the parts by themselves",
            ends,
        )


def _rotation(evidence: Evidence) -> Iterator[Finding]:
    angles = [evidence.parallax_deg(one) for one in evidence.well_seen]
    if angles and (widest := float(np.quantile(angles, _WIDE_SHARE))) < _PARALLAX_DEG:
        yield Finding(
            "rotation only",
            f"rays to the same places meet under {widest:.2f}° at most, as where a camera turns on the spot",
            "Depth does not show: take photographs from other places, or give depth",
        )


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


def _focal(evidence: Evidence) -> Iterator[Finding]:
    thinned = evidence.well_seen[:: -(-len(evidence.well_seen) // _FOCAL_PAIRS) or 1]
    if not thinned:
        return
    evidence = replace(evidence, seen=thinned)
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


def _median(evidence: Evidence, cameras: Sequence[Camera] | None = None) -> float:
    """Return how far off the matches of the median pair are, pixels; 0 without pairs."""
    of_pairs = [float(error.median()) for error in replace(evidence, seen=evidence.well_seen).errors(cameras)]
    return float(np.median(of_pairs)) if of_pairs else 0.0


def _is_better(error: float, own: float) -> bool:
    return error < min(_GOOD_PX, _BETTER * own)


def _best_focal(evidence: Evidence) -> tuple[float, float]:
    """Return by what all focal lengths would have to be scaled for matches to fit best, and how far off they are."""
    from scipy.optimize import minimize_scalar

    def error(scale: float) -> float:
        return _median(evidence, [_refocused(look.camera, scale) for look in evidence.looks])

    roughly = min(_FOCALS, key=error)
    found = minimize_scalar(error, bounds=(roughly / 1.15, roughly * 1.15), method="bounded", options={"xatol": 5e-3})
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
