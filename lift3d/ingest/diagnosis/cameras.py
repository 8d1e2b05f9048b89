"""What is wrong with the cameras of a capture: too few, too far apart, on one spot."""

from collections.abc import Iterator

import numpy as np
import torch

from lift3d.domain.scene import Scene
from lift3d.ingest.diagnosis import poses
from lift3d.ingest.diagnosis.evidence import Evidence
from lift3d.ingest.diagnosis.finding import Finding

# Each spot should be seen by four or five views; so many views that were listed may be missing.
_FEWEST_VIEWS, _MISSING_SHARE = 6, 0.1
# A view or two that share nothing with others are lost, and hurt nothing.
_FEW_ALONE, _ALONE_SHARE = 1, 0.03
# A step of the path that is longer than this many usual ones leaves a gap.
_GAP = 8.0
# Depth shows only where rays meet under an angle: the widest tenth of the pairs must have this one.
_PARALLAX_DEG, _WIDE_SHARE = 0.7, 0.9


def findings(scene: Scene, evidence: Evidence) -> Iterator[Finding]:
    """Yield what is wrong with the cameras; of poses that do not fit only the likeliest cause."""
    yield from _views(scene, evidence)
    yield from _gap(scene)
    # Each explains what those after it would find.
    for cause in (_rotation, *poses.CAUSES):
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
