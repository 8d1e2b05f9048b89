"""Why views disagree or see nothing: told by few rules from the surface, the photographs and how sure answers are.

Points of the surface are looked up in the photographs. Where one view shows something else than most, together in one
place, it moved, and so did what a sensor measured where more views measure what lies behind it; what is the same in
other light is no other thing. Where a whole view agrees better some pixels aside, its camera is off; where points look
different from every side, they shine. Cells of which nothing is known have no texture, or no other view looks there.
Letters: e is how far the colour of a point in a view is from its median over views, channels averaged, in [0, 1].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedView
from lift3d.domain.scene import Frame
from lift3d.geometry.projection import is_inside, project, unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import sample
from lift3d.results.evidence.sightings import Sightings
from lift3d.results.lifted_scene import LiftedScene
from lift3d.surface.catalog import SENSOR

ReasonKind = Literal["pose", "moved", "light", "shiny", "no texture", "no overlap"]
REMEDIES: dict[ReasonKind, str] = {
    "pose": "Pose the capture anew (lift3d ingest), or leave these views out.",
    "moved": "Something moved: --reliability tiny:encoder leaves it out, or hide it by masks.",
    "light": "A shadow or the exposure changed: photograph with fixed exposure and white balance, in even light.",
    "shiny": "Shine, mirrors, light that moved, or depth that is wrong: expect blur there, or hide it by masks.",
    "no texture": "Stereo finds nothing there: --geometry planar, a network of depth as its prior, or a depth sensor.",
    "no overlap": "No second view looks there: take photographs from more places.",
}

# A colour is another one beyond this, and beyond so many times what colours of one point usually differ by.
_OTHER, _TIMES = 0.1, 4.0
# Of the usual light, what a shadow leaves, and what a lamp makes of it.
_LIGHTS = (0.4, 2.5)
# Of a view or of the surface, shares that are worth a line.
_MOVED_SHARE, _SHINY_SHARE, _UNKNOWN_SHARE = 0.03, 0.05, 0.1
# Views within this angle (its cosine) are no strangers; where more views differ than these, it is no passer-by.
_BESIDE, _MOST_MOVED = 0.94, 0.4
# Points around one, and how many of them differ, too, where a thing moved: noise is scattered.
_AROUND, _TOGETHER = 8, 0.5
# Cells of a view that are looked up in others.
_MOST_CELLS = 1500
# A camera is off if so many pixels aside, of image height, views agree so much better.
_FARTHEST, _OFF_PX, _BETTER = 0.06, 1.0, 0.7
# That is asked of views whose colours differ so many times as much as those of most, of so many points.
_SUSPECT, _FEWEST_POINTS = 1.3, 100
# Cells are unknown below this coverage; photographs are plain below this contrast, which costs so much of confidence.
_KNOWN, _PLAIN, _LESS_SURE = 0.5, 0.015, 0.15


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, in how much of which views it holds, the worst first."""

    kind: ReasonKind
    said: str
    views: tuple[ViewId, ...] = ()

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.kind]


def reasons_of(lifted: LiftedScene, sightings: Sightings | None) -> list[Reason]:
    """Return why answers of a scene are worse than they might be; none if photographs cannot be read."""
    if sightings is None or not len(sightings.points.xyz):
        return []
    loaded = [lifted.frame(view) for view in sightings.views]
    frames = [frame for frame in loaded if frame is not None]
    if len(frames) < len(loaded):
        return []
    return [*_of_colours(sightings, frames), *_of_unknown_cells(lifted, sightings.views, frames)]


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Points in photographs.

    Attributes:
        uv: Their pixels.
        is_seen: Whether the view sees a point, by its own depth.
        is_seen_beside: Whether two others see it from directions near the view's own.
    """

    uv: Float[Tensor, "view point 2"]
    is_seen: Bool[Tensor, "view point"]
    is_seen_beside: Bool[Tensor, "view point"]


@dataclass(frozen=True, slots=True, eq=False)
class _ViewPoints:
    """The points that a view sees and others do, too: their pixels, and the colours that they usually have."""

    image: Float[Tensor, "3 row col"]
    uv: Float[Tensor, "point 2"]
    usual: Float[Tensor, "point 3"]

    def residual(self, shift: tuple[int, int]) -> float:
        """Return how much colours differ from the usual ones if they are read some pixels aside; 0 of few points."""
        if len(self.uv) < _FEWEST_POINTS:
            return 0.0
        apart = _read(self.image, self.uv + torch.tensor(shift, dtype=self.uv.dtype)) - self.usual
        return float((apart - apart.median(0).values).abs().mean(1).median())


def _of_colours(sightings: Sightings, frames: Sequence[Frame]) -> Iterator[Reason]:
    seen, targets = _seen(sightings), sightings.views
    height = frames[0].camera.size.height
    calm = [_blurred(frame.image, max(1, round(0.03 * height))) for frame in frames]
    colours = torch.stack([_read(image, uv) for image, uv in zip(calm, seen.uv, strict=True)])
    colours[~seen.is_seen] = torch.nan
    usual = colours.nanmedian(0).values
    # Exposure is of a view, not of its points.
    colours = colours - (colours - usual).nanmedian(1, keepdim=True).values
    e = (colours - usual).abs().mean(2)
    spread_of = e.nanmedian(0).values
    is_known = seen.is_seen.sum(0) >= 3
    if not bool(is_known.any()):
        return
    limit = max(_OTHER, _TIMES * float(spread_of[is_known].nanmedian()))
    counts = seen.is_seen & is_known & seen.is_seen_beside
    views = [
        _ViewPoints(_blurred(frame.image, 1), uv[known], usual[known])
        for frame, uv, known in zip(frames, seen.uv, counts, strict=True)
    ]
    off = _off_px(views)
    yield from _told("pose", off, targets, "{count} of {all} views agree better with the others {worst:.0f} px aside")
    is_other = counts & (e > limit) & (spread_of < limit / 2)
    is_shade = _beside_shade(colours, usual) < limit / 2

    def in_one_place(is_told: Bool[Tensor, "view point"]) -> list[float]:
        # A camera that is off shows everything elsewhere.
        shares = [
            0.0 if apart else _together(uv[known], told[known])
            for uv, told, known, apart in zip(seen.uv, is_told, counts, off, strict=True)
        ]
        return [share if share >= _MOVED_SHARE else 0.0 for share in shares]

    moved, shaded = in_one_place(is_other & ~is_shade), in_one_place(is_other & is_shade)
    gone = [0.0 if apart else share for share, apart in zip(_passed_through(sightings), off, strict=True)]
    shiny = float((spread_of[is_known] > limit).double().mean())
    if sum(share > 0 for share in moved) > _MOST_MOVED * len(moved):
        yield from _told("shiny", moved, targets, "{count} of {all} views show places in other colours than most do")
    else:
        said = "{count} of {all} views show in one place, up to {percent:.0f} % of them, what most others do not"
        yield from _told("moved", [*map(max, moved, gone)], targets, said)
    said = "{count} of {all} views show places, up to {percent:.0f} % of them, darker or brighter than most do"
    # Of a thing, some places may pass for its shadow.
    light = [0.0 if thing or missing else share for share, thing, missing in zip(shaded, moved, gone, strict=True)]
    yield from _told("light", light, targets, said)
    if shiny >= _SHINY_SHARE:
        yield Reason("shiny", f"{100 * shiny:.0f} % of the surface looks different from different sides")


def _of_unknown_cells(lifted: LiftedScene, targets: Sequence[ViewId], frames: Sequence[Frame]) -> Iterator[Reason]:
    plain, alone = [], []
    for target, frame in zip(targets, frames, strict=True):
        view = lifted.view(target)
        first = view.lifted[0]
        uv = cell_centers(*first.features.grid.lattice).reshape(-1, 2)
        others = [one.camera for one, name in zip(frames, targets, strict=True) if name != target]
        is_alone = (first.coverage < _KNOWN).flatten() & ~_is_shared(view, uv, others)
        alone.append(float(is_alone.double().mean()))
        is_plain = (_read(_contrast(frame.image)[None], uv)[:, 0] < _PLAIN) & ~is_alone
        surety = (first.coverage if first.confidence is None else first.confidence).flatten()
        is_less = float(surety[is_plain].mean()) < float(surety[~is_plain].mean()) - _LESS_SURE
        plain.append(float(is_plain.double().mean()) if is_less else 0.0)
    kept = [[share if share >= _UNKNOWN_SHARE else 0.0 for share in shares] for shares in (plain, alone)]
    said = "{count} of {all} views, up to {percent:.0f} % of them, are plain, and answers are less sure there"
    yield from _told("no texture", kept[0], targets, said)
    yield from _told(
        "no overlap", kept[1], targets, "{count} of {all} views, up to {percent:.0f} % of them, no other sees"
    )


def _told(kind: ReasonKind, amounts: Sequence[float], targets: Sequence[ViewId], said: str) -> Iterator[Reason]:
    """Yield a reason for the views that have an amount of it, the worst first."""
    order = sorted((place for place, one in enumerate(amounts) if one > 0), key=lambda place: -amounts[place])
    if order:
        worst = amounts[order[0]]
        words = said.format(count=len(order), all=len(targets), worst=worst, percent=100 * worst)
        yield Reason(kind, words, tuple(targets[place] for place in order))


def _seen(sightings: Sightings) -> _Seen:
    found, xyz = sightings.seen, sightings.points.xyz
    is_seen = torch.stack([(one.quality > 0) & ~one.is_outline for one in found])
    ways = torch.stack([F.normalize(xyz - one.camera.center, dim=1).float() for one in found])
    beside = [((ways * own).sum(2) > _BESIDE) & is_seen for own in ways]
    # The view itself is one of them.
    is_seen_beside = torch.stack([near.sum(0) >= 2 + own.long() for near, own in zip(beside, is_seen, strict=True)])
    return _Seen(torch.stack([one.uv.nan_to_num(0.0).float() for one in found]), is_seen, is_seen_beside)


def _off_px(views: Sequence[_ViewPoints]) -> list[float]:
    """Return how many pixels aside each view agrees much better with the others; 0 where it does not."""
    residuals = [one.residual((0, 0)) for one in views]
    # It is looked for where a view agrees less than others do.
    usual = sorted(residuals)[len(residuals) // 2]
    return [
        0.0 if residual <= _SUSPECT * usual else _aside_px(one, residual)
        for one, residual in zip(views, residuals, strict=True)
    ]


def _aside_px(view: _ViewPoints, residual: float) -> float:
    farthest = max(3, round(_FARTHEST * view.image.shape[1]))
    coarse = max(1, farthest // 4)
    steps, around = range(-farthest, farthest + 1, coarse), range(-coarse + 1, coarse)
    best = min(((u, v) for u in steps for v in steps), key=view.residual)
    best = min(((best[0] + u, best[1] + v) for u in around for v in around), key=view.residual)
    aside = (best[0] ** 2 + best[1] ** 2) ** 0.5
    return float(aside) if aside > _OFF_PX and view.residual(best) < _BETTER * residual else 0.0


def _together(uv: Float[Tensor, "point 2"], is_other: Bool[Tensor, " point"]) -> float:
    """Return the share of points that differ with most of the points around them."""
    if int(is_other.sum()) < 3 or len(uv) <= _AROUND:
        return 0.0
    around = torch.cdist(uv[is_other], uv).topk(_AROUND + 1, largest=False).indices[:, 1:]
    return float((is_other[around].double().mean(1) >= _TOGETHER).sum()) / len(uv)


def _beside_shade(
    colours: Float[Tensor, "view point 3"], usual: Float[Tensor, "point 3"]
) -> Float[Tensor, "view point"]:
    """Return how far colours are from the usual ones in whatever light: less or more of it makes no other thing."""
    light = ((colours * usual).sum(2) / usual.square().sum(1).clamp(min=1e-6)).clamp(*_LIGHTS)
    return (colours - light[..., None] * usual).abs().mean(2)


def _passed_through(sightings: Sightings) -> list[float]:
    """Return how much of each view's depth, in one place, more views see through than show it; 0 where it is estimated.

    Where that is so in many views, a sensor errs.
    """
    surface, shares = sightings.surface, [0.0] * len(sightings.views)
    for place, name in enumerate(sightings.views if surface.method == SENSOR.name else ()):
        if name not in surface.ids:
            continue
        own = surface.ids.index(name)
        view = surface.views[own]
        z_depth = view.z_depth.flatten()
        known = torch.nonzero(torch.isfinite(z_depth))[:, 0]
        known = known[:: 1 + len(known) // _MOST_CELLS]
        uv = cell_centers(*view.grid.lattice).reshape(-1, 2)[known]
        is_other = torch.arange(len(surface.views)) != own
        asked = surface.asked(view.camera, uv, z_depth[known], is_allowed=is_other)
        look = surface.look(view.camera, uv, z_depth[known], asked)
        shown, passed = (asked.among_all(one)[:, is_other] > 0 for one in (look.shown, look.passed))
        share = _together(uv, (passed.sum(1) >= 2) & (passed.sum(1) > shown.sum(1)))
        shares[place] = share if share >= _MOVED_SHARE else 0.0
    return shares if sum(share > 0 for share in shares) <= _MOST_MOVED * len(shares) else [0.0] * len(shares)


def _is_shared(view: LiftedView, uv: Float[Tensor, "cell 2"], others: Sequence[Camera]) -> Bool[Tensor, " cell"]:
    """Whether some other view looks where a cell does, at the depth of the view's middle."""
    z_depth = view.lifted[0].z_depth
    known = z_depth[torch.isfinite(z_depth)]
    if not len(known):
        return torch.zeros(len(uv), dtype=torch.bool)
    z = torch.full((len(uv),), float(known.median()), dtype=torch.float64)
    xyz = transform(view.camera.c2w, unproject(uv.double(), z, view.camera.K))
    shared = torch.zeros(len(uv), dtype=torch.bool)
    for camera in others:
        at, is_ahead = project(transform(camera.w2c, xyz), camera.K)
        shared |= is_ahead & is_inside(at, camera.size.height, camera.size.width)
    return shared


def _blurred(image: Float[Tensor, "channel row col"], radius: int) -> Float[Tensor, "channel row col"]:
    return F.avg_pool2d(image[None], 2 * radius + 1, 1, radius, count_include_pad=False)[0]


def _contrast(image: Float[Tensor, "3 row col"]) -> Float[Tensor, "row col"]:
    """Return the deviation of brightness around each pixel."""
    grey = image.mean(0, keepdim=True)
    radius = max(2, image.shape[1] // 40)
    variance = _blurred(grey.square(), radius) - _blurred(grey, radius).square()
    return variance.clamp(min=0).sqrt()[0]


def _read(image: Float[Tensor, "channel row col"], uv: Float[Tensor, "point 2"]) -> Float[Tensor, "point channel"]:
    return sample(image, uv.float(), (1.0, 1.0), (0.0, 0.0)).T
