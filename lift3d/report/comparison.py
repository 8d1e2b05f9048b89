"""Two runs, operators or lifters side by side on a page: paired intervals, and the same spots in pictures of both."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift3d.domain.records import RAW2D
from lift3d.domain.scores import ALL_PIXELS
from lift3d.errors import Lift3dError
from lift3d.report.html import page, write_page
from lift3d.report.strip import Strip, strip_of
from lift3d.results.evidence.same_spots import same_spots
from lift3d.results.evidence.sightings import sightings_of
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.opened import lifted_scenes
from lift3d.results.scores.run_comparison import ComparedSide, RunComparison, resampled
from lift3d.results.scores.tables import HEADLINE

# Scenes and operators that are drawn; the lines are of all.
_MOST_STRIPS = 4
# The width and height of the drawing of an interval.
_WIDE, _HIGH = 120, 14
_SIDES = ("A", "B")
_ORDER = ("worse", "better", "differs", "–")


@dataclass(frozen=True, slots=True)
class ComparedLine:
    """One line of the comparison: what it is of, its figures, and its interval as places on a drawing.

    ``bar`` is low, difference, high and where 0 is; None without an interval.
    """

    labels: tuple[str, ...]
    verdict: str
    figures: tuple[str, ...]
    over: str
    bar: tuple[float, float, float, float] | None


def write_comparison(found: RunComparison, out: Path, captures: bool = False) -> None:
    """Write the page of a comparison; ConfigError if the file cannot be written."""
    lines = sorted(found.lines.to_dict("records"), key=_rank)
    usual, other = ([_line(one) for one in lines if _is_usual(one) == is_usual] for is_usual in (True, False))
    counted = usual or other
    verdicts = {name: sum(one.verdict == name for one in counted) for name in _ORDER} | {"all": len(counted)}
    lifters = {one.labels[1] for one in (*usual, *other)}
    content = {
        "title": "Comparison",
        "lifter": "" if len(lifters) > 1 else lifters.pop(),
        "is_mixed": len({one.labels[:3] for one in usual}) < len(usual),
        "found": found,
        "usual": usual,
        "other": other,
        "verdicts": verdicts,
    }
    strips = list(_strips(found, captures))
    write_page(out, page("comparison.html.jinja", {**content, "strips": strips, "drawing": (_WIDE, _HIGH)}))


def _is_usual(line: Mapping[Any, Any]) -> bool:
    """Whether a metric of the headline, over all pixels."""
    _, _, pixels = str(line["protocol"]).rpartition("/")
    return line["metric"] in HEADLINE and pixels in (ALL_PIXELS, line["protocol"])


def _rank(line: Mapping[Any, Any]) -> tuple[int, int]:
    places = list(HEADLINE)
    return _ORDER.index(line["verdict"]), places.index(line["metric"]) if line["metric"] in HEADLINE else len(places)


def _line(line: Mapping[Any, Any]) -> ComparedLine:
    low, high, apart = (float(line[name]) for name in ("low", "high", "difference"))
    is_known = not math.isnan(low)
    spread = f"[{low:+.4f}, {high:+.4f}]" if is_known else "–"
    metric = HEADLINE.get(line["metric"], str(line["metric"]))
    protocol = " · ".join(filter(None, (line[name] for name in ("protocol", "threshold_source", "scoring_geometry"))))
    labels = (str(line["operator"]) or "–", str(line["lifter"]) or "–", metric, protocol)
    figures = (f"{line['mean_a']:.4f}", f"{line['mean_b']:.4f}", f"{apart:+.4f}", spread)
    return ComparedLine(
        labels, str(line["verdict"]), figures, resampled(line), _bar(low, apart, high) if is_known else None
    )


def _bar(low: float, apart: float, high: float) -> tuple[float, float, float, float]:
    """Return places on a drawing that holds the interval and 0, whatever their scale."""
    first, last = min(low, 0.0), max(high, 0.0)
    scale = (_WIDE - 8) / ((last - first) or 1.0)
    at = [round(4 + scale * (one - first), 1) for one in (low, apart, high, 0.0)]
    return at[0], at[1], at[2], at[3]


def _strips(found: RunComparison, captures: bool) -> Iterator[tuple[str, Strip]]:
    """Yield scenes of both sides in pictures, under their names; what cannot be read is left out."""
    try:
        sides = [_lifted(side, captures) for side in found.sides]
    except Lift3dError:
        return
    shown = 0
    # The plain answers stand above the lifted ones in any case.
    called = [" · ".join(filter(None, pair)) for pair in zip(_SIDES, (one.lifter for one in found.sides), strict=True)]
    named = [name for name, side in zip(called, found.sides, strict=True) if side.lifter != RAW2D] or called[:1]
    for names in found.scenes:
        for pair in _pairs([side.get(name, []) for side, name in zip(sides, names, strict=True)]):
            if shown == _MOST_STRIPS:
                return
            try:
                yield f"{names[0]} · {pair[0].operator}", _strip(dict(zip(called, pair, strict=True)), named)
            except Lift3dError:
                continue
            shown += 1


def _lifted(side: ComparedSide, captures: bool) -> dict[str, list[LiftedScene]]:
    found: dict[str, list[LiftedScene]] = {}
    for one in lifted_scenes(side.store, side.run_id, captures):
        if side.operator in ("", one.operator) and side.lifter in ("", RAW2D, one.lifter):
            found.setdefault(one.name, []).append(one)
    return found


def _pairs(sides: Sequence[Sequence[LiftedScene]]) -> Iterator[tuple[LiftedScene, LiftedScene]]:
    """Yield those of both sides that belong together: of one operator if both have it, the last lifter of each."""
    last = [{one.operator: one for one in side} for side in sides]
    shared = [name for name in last[0] if name in last[1]]
    if shared:
        yield from ((last[0][name], last[1][name]) for name in shared)
    elif all(last):
        yield next(iter(last[0].values())), next(iter(last[1].values()))


def _strip(pair: Mapping[str, LiftedScene], named: Sequence[str]) -> Strip:
    shown = {name: pair[name] for name in named}
    colours = {one.operator: one.colours for one in reversed(shown.values())}
    first = next(iter(shown.values()))
    return strip_of(shown, colours, same_spots(first, sightings_of(first)))
