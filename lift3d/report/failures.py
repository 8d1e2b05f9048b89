"""Where a run fails: scenes, lifters, views and figures that are missing, and the views that came out worst.

Gathered part by part of the table, so that memory is that of what is shown and of one part.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lift3d.metrics.catalog import build_metrics
from lift3d.pipeline.lift import RAW2D
from lift3d.pipeline.score import ALL_PIXELS
from lift3d.results.headline import HEADLINE
from lift3d.tables.schema import DataFrame, ScoreTable

# Lines of each kind; the table has all.
SHOWN = 20
# Of each operator and metric, before the metric that is shown is known.
WORST = 8
# Families of figures of two views, by what their names start with; the first that a scene has is drawn.
PAIR_FAMILIES = ("warp_error", "depth_cross", "direction_cross")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something without a figure, and why."""

    scene: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorstView:
    """A view that came out worse than others.

    Attributes:
        scene: Its scene.
        target: The view.
        value: Its figure.
        coverage: How much of it some source sees.
    """

    scene: str
    target: str
    value: float
    coverage: float


@dataclass(frozen=True, slots=True)
class WorstViews:
    """The worst views of one operator under one lifter, by one metric, the worst first."""

    operator: str
    lifter: str
    metric: str
    views: tuple[WorstView, ...]

    @property
    def title(self) -> str:
        """What the metric is called."""
        return HEADLINE.get(self.metric, self.metric)


@dataclass(slots=True)
class _Listed:
    """The first lines of a kind, and how many there are."""

    lines: list[Trouble] = field(default_factory=list)
    count: int = 0

    def add(self, lines: Collection[Trouble]) -> None:
        self.count += len(lines)
        self.lines += list(lines)[: SHOWN - len(self.lines)]


class Failures:
    """What is gathered from the table of a run.

    Attributes:
        scenes: Scenes that failed.
        lifters: Lifters that could not run on a scene.
        unlifted: Targets without a lifted view.
        dropped: Views that could not be used.
        blanks: How often a figure is missing for one reason: (operator, lifter, metric, reason) to count.
        pairs: Rows of figures of two views, of the scenes that are drawn.
    """

    def __init__(self, drawn: Collection[str]) -> None:
        self.scenes, self.lifters, self.unlifted, self.dropped = _Listed(), _Listed(), _Listed(), _Listed()
        self.blanks: Counter[tuple[str, str, str, str]] = Counter()
        self.pairs: list[dict[str, Any]] = []
        self._drawn = {*drawn}
        self._sides = {
            one.spec.name: one.spec.better
            for one in build_metrics()
            if one.spec.scope == "view" and one.spec.better != "neither" and one.spec.name in HEADLINE
        }
        self._worst: dict[tuple[str, str, str], list[WorstView]] = {}

    def add(self, table: ScoreTable) -> None:
        """Look at a part of the table, whole scenes."""
        frame = table.frame
        frame = frame[~frame["protocol"].str.contains("/") | frame["protocol"].str.endswith(f"/{ALL_PIXELS}")]
        self._add_missing(frame[frame["outcome"] != "ok"])
        found = frame[frame["outcome"] == "ok"]
        self._add_worst(found[(found["lifter"] != RAW2D) & found["metric"].isin([*self._sides])])
        is_pair = (found["other"] != "") & found["scene"].isin([*self._drawn])
        self.pairs += found[is_pair].to_dict("records")

    def worst(self, lifters: Sequence[str]) -> list[WorstViews]:
        """Return the worst views of each operator, by the first of the usual metrics that it has.

        Args:
            lifters: Of the run; views are those of the last of them that an operator has.
        """
        chosen = []
        for operator in dict.fromkeys(operator for operator, _, _ in self._worst):
            own = [key for key in self._worst if key[0] == operator]
            lifter = next((one for one in reversed(lifters) if any(key[1] == one for key in own)), own[0][1])
            metric = min((key[2] for key in own if key[1] == lifter), key=list(HEADLINE).index)
            chosen.append(WorstViews(operator, lifter, metric, tuple(self._worst[operator, lifter, metric])))
        return chosen

    def _add_missing(self, missing: DataFrame) -> None:
        kinds = {"usable_scene": self.scenes, "usable_lifter": self.lifters, "usable_view": self.dropped}
        for metric, listed in {**kinds, "lift": self.unlifted}.items():
            rows = missing[missing["metric"] == metric]
            listed.add([Trouble(one["scene"], _what(one), one["reason"]) for one in rows.to_dict("records")])
        others = missing[~missing["metric"].isin([*kinds, "lift"])]
        columns = ["operator", "lifter", "metric", "reason"]
        self.blanks.update({tuple(key): int(count) for key, count in others.groupby(columns).size().items()})

    def _add_worst(self, found: DataFrame) -> None:
        for key, rows in found.groupby(["operator", "lifter", "metric"], sort=True):
            operator, lifter, metric = key
            is_high = self._sides[metric] == "higher"
            rows = rows.sort_values("value", ascending=is_high, kind="stable").head(WORST)
            views = [
                WorstView(one["scene"], one["target"], float(one["value"]), float(one["coverage"]))
                for one in rows.to_dict("records")
            ]
            held = self._worst.setdefault((operator, lifter, metric), [])
            # The sort is stable: of equal views the first one of the table comes first.
            held[:] = sorted([*held, *views], key=lambda view: view.value if is_high else -view.value)[:WORST]

    def pairs_of(self, scene: str, operator: str) -> tuple[str, list[dict[str, Any]]]:
        """Return which family of figures of two views an operator has in a scene, and its rows."""
        own = [one for one in self.pairs if one["scene"] == scene and one["operator"] == operator]
        for family in PAIR_FAMILIES:
            rows = [one for one in own if one["metric"].startswith(family)]
            if rows:
                return family, rows
        return "", []

    def kinds(self) -> Iterator[tuple[str, str, _Listed]]:
        """Yield what is listed, by heading and by what its second column holds."""
        yield "Scenes that failed", "", self.scenes
        yield "Lifters that could not run", "operator × lifter", self.lifters
        yield "Targets that were not lifted", "target, operator × lifter", self.unlifted
        yield "Views that were dropped", "view", self.dropped


def _what(one: dict[str, Any]) -> str:
    """Return what a row without a figure is about."""
    product = f"{one['operator']} × {one['lifter']}" if one["operator"] else ""
    return ", ".join(text for text in (one["target"], product) if text)
