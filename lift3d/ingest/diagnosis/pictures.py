"""What is wrong with the pictures of a capture: blur, jumps of exposure, sizes, masks that hide the wrong part."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch

from lift3d.domain.scene import Scene
from lift3d.ingest.diagnosis.evidence import Evidence, PairEvidence
from lift3d.ingest.diagnosis.finding import Finding
from lift3d.scenes.tracks_matching import epipolar_error

# Sharp photographs at 360 rows have edges of 0.8 to 1.3 px. A view is blurred where it is past the first and so many
# times its capture's median; a capture, where its median is past the second.
_BLURRED_PX, _BLURRED_TIMES, _ALL_BLURRED_PX = 1.3, 1.5, 2.0
# Automatic exposure changes by up to a third from view to view in captures that lift well.
_JUMP = math.log(1.5)
# What two views show alike is on epipolar lines within this, pixels.
_FITS_PX = 2.0
# Masks that keep this much of all pixels hide nothing to speak of.
_KEPT_ALL = 0.97
_FEWEST_HIDDEN = 100


def findings(scene: Scene, evidence: Evidence) -> Iterator[Finding]:
    """Yield what is wrong with the pictures."""
    yield from _blur(evidence)
    yield from _exposure(evidence)
    yield from _sizes(scene)
    yield from _masks(evidence)


def _blur(evidence: Evidence) -> Iterator[Finding]:
    blur = np.array([look.blur_px for look in evidence.looks])
    if not len(blur) or np.isnan(blur).all():
        return
    usual = float(np.nanmedian(blur))
    if usual > _ALL_BLURRED_PX:
        yield Finding(
            "blur",
            f"edges are {usual:.1f} px wide at {evidence.looks[0].camera.size.height} rows, in sharp photographs 1",
            "Nothing finer than that can be lifted: use the original photographs, with a shorter exposure, in focus",
        )
    worst = np.flatnonzero(blur > max(_BLURRED_PX, _BLURRED_TIMES * usual))
    if len(worst):
        narrowest, widest = f"{blur[worst].min():.1f}", f"{blur[worst].max():.1f}"
        widths = widest if narrowest == widest else f"{narrowest} to {widest}"
        yield Finding(
            "blur",
            f"edges of {len(worst)} of {len(blur)} views are {widths} px wide, of the others {usual:.1f}",
            "Leave them out, or take them again",
            tuple(evidence.looks[view].view for view in worst.tolist()),
        )


def _exposure(evidence: Evidence) -> Iterator[Finding]:
    """Views whose brightness differs from most of those that show the same; where many do, it jumps about."""
    gains: list[list[float]] = [[] for _ in evidence.looks]
    for one in evidence.well_seen:
        for view, gain in zip(one.pair, (-one.gain, one.gain), strict=True):
            gains[view].append(gain)
    own = np.array([np.median(given) if given else 0.0 for given in gains])
    jumping = np.flatnonzero(np.abs(own) > _JUMP)
    if len(jumping):
        times = np.exp(np.abs(own[jumping]).max())
        yield Finding(
            "exposure",
            f"brightness of {len(jumping)} of {len(own)} views is up to {times:.1f} times off that of others that show "
            "the same",
            "Models answer differently there: develop the photographs alike, or leave these out",
            tuple(evidence.looks[view].view for view in jumping.tolist()),
        )


def _sizes(scene: Scene) -> Iterator[Finding]:
    # A camera that is turned takes the same picture on its side.
    sizes = Counter(tuple(sorted((view.camera.size.height, view.camera.size.width))) for view in scene.views)
    if len(sizes) > 1:
        usual = sizes.most_common(1)[0][0]
        other = tuple(
            view.id for view in scene.views if tuple(sorted((view.camera.size.height, view.camera.size.width))) != usual
        )
        named = ", ".join(f"{count} of {short}×{long}" for (short, long), count in sizes.most_common(4))
        yield Finding(
            "sizes",
            f"views have {len(sizes)} sizes: {named}",
            "All are lifted at one height. Were some resized or cropped, their focal lengths must say so",
            other,
        )


def _masks(evidence: Evidence) -> Iterator[Finding]:
    """Masks that hide what all views agree on, or what all look at, and keep the rest, are likely to be inverted."""
    middle, border = np.mean([look.kept for look in evidence.looks], axis=0) if evidence.looks else (1.0, 1.0)
    hidden = [one for one in evidence.seen if len(one.hidden[0])]
    if min(middle, border) > _KEPT_ALL or sum(len(one.hidden[0]) for one in hidden) < _FEWEST_HIDDEN:
        return
    hidden_fit = sum(_fitting(evidence, one) for one in hidden)
    hidden_share = hidden_fit / sum(len(one.hidden[0]) for one in hidden)
    kept = sum(one.kept_matches for one in evidence.seen)
    kept_fit = sum(int((error < _FITS_PX).sum()) for error in evidence.errors())
    if hidden_share < 0.5:
        return
    said = ""
    if kept_fit < 0.1 * hidden_fit or kept_fit < 0.3 * kept:
        said = f"of {kept} matches that masks keep {kept_fit} fit the poses, of those that they hide {hidden_fit}"
    elif middle < 0.5 and border > 0.8:
        said = f"masks keep {100 * middle:.0f} % of the middle of views, and {100 * border:.0f} % near their borders"
    if said:
        yield Finding("masks", said, "They may be inverted: masks are 0 (black) where pixels must not count")


def _fitting(evidence: Evidence, one: PairEvidence) -> int:
    """Return how many of the hidden matches fit the poses; what is fixed to the image moves with no surface."""
    a, b = (evidence.looks[view].camera for view in one.pair)
    error = epipolar_error(*one.hidden, (a, b))
    moves = (one.hidden[0] - one.hidden[1]).norm(dim=-1) > _FITS_PX
    return int(torch.logical_and(error < _FITS_PX, moves).sum())
