"""Where a run fails: scenes, lifters, views and figures that are missing, and the views that came out worst.

Gathered part by part of the table, so that memory is that of what is shown and of one part.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lift3d.domain.records import RAW2D
from lift3d.domain.scores import ALL_PIXELS
from lift3d.metrics.catalog import build_metrics
from lift3d.results.tables import HEADLINE
from lift3d.tables.rendering import NOTHING, Cell, Column, Row, Table, text_table
from lift3d.tables.schema import DataFrame, ScoreTable

# Lines of each kind; the table has all.
SHOWN = 20
# Of each operator and metric, before the metric that is shown is known.
WORST = 8


@dataclass(slots=True)
class Listed:
    """The first lines of a kind of failure below their headings, and how many there are in all."""

    heading: str
    labels: tuple[str, ...]
    lines: list[list[str]] = field(default_factory=list)
    count: int = 0

    def add(self, lines: Sequence[list[str]]) -> None:
        """Take further lines."""
        self.count += len(lines)
        self.lines += lines[: SHOWN - len(self.lines)]

    @property
    def table(self) -> Table:
        """The lines that are shown."""
        return text_table(self.labels, self.lines, len(self.labels))


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A figure of two views."""

    lifter: str
    metric: str
    target: str
    other: str
    value: float


@dataclass(frozen=True, slots=True)
class _View:
    scene: str
    target: str
    value: float
    coverage: float


class Failures:
    """What is gathered from the table of a run; ``pairs`` are of the scenes that are drawn, by scene and operator."""

    def __init__(self, drawn: Collection[str]) -> None:
        self.pairs: dict[tuple[str, str], list[ScoredPair]] = {}
        self._listed = {
            "usable_scene": Listed("Scenes that failed", ("scene", "reason")),
            "usable_lifter": Listed("Lifters that could not run", ("scene", "operator × lifter", "reason")),
            "lift": Listed("Targets that were not lifted", ("scene", "target, operator × lifter", "reason")),
            "usable_view": Listed("Views that were dropped", ("scene", "view", "reason")),
        }
        self._blanks: Counter[tuple[str, str, str, str]] = Counter()
        self._drawn = {*drawn}
        self._sides = {
            one.spec.name: one.spec.better
            for one in build_metrics()
            if one.spec.scope == "view" and one.spec.better != "neither" and one.spec.name in HEADLINE
        }
        self._worst: dict[tuple[str, str, str], list[_View]] = {}

    def add(self, table: ScoreTable) -> None:
        """Look at a part of the table, whole scenes."""
        frame = table.frame
        frame = frame[~frame["protocol"].str.contains("/") | frame["protocol"].str.endswith(f"/{ALL_PIXELS}")]
        self._add_missing(frame[frame["outcome"] != "ok"])
        found = frame[frame["outcome"] == "ok"]
        self._add_worst(found[(found["lifter"] != RAW2D) & found["metric"].isin([*self._sides])])
        is_pair = (found["other"] != "") & found["scene"].isin([*self._drawn])
        for one in found[is_pair].to_dict("records"):
            pair = ScoredPair(one["lifter"], one["metric"], one["target"], one["other"], float(one["value"]))
            self.pairs.setdefault((one["scene"], one["operator"]), []).append(pair)

    @property
    def listed(self) -> list[Listed]:
        """What is missing: scenes, lifters, targets and views, then figures by how often one reason is given."""
        blanks = Listed("Kinds of figures that are missing", ("metric", "operator × lifter", "times", "reason"))
        kinds = self._blanks.most_common()
        blanks.add([[metric, f"{operator} × {lifter}", str(n), why] for (operator, lifter, metric, why), n in kinds])
        return [one for one in (*self._listed.values(), blanks) if one.count]

    def worst(self, lifters: Sequence[str]) -> list[Table]:
        """Return the worst views of each operator, the worst first, by the first of the usual metrics that it has.

        They are those of the last of the run's lifters that the operator has.
        """
        tables = []
        for operator in dict.fromkeys(operator for operator, _, _ in self._worst):
            own = [key for key in self._worst if key[0] == operator]
            lifter = next((one for one in reversed(lifters) if any(key[1] == one for key in own)), own[0][1])
            metric = min((key[2] for key in own if key[1] == lifter), key=list(HEADLINE).index)
            columns = (Column(HEADLINE[metric], metric), Column("coverage"))
            rows = tuple(
                Row((view.scene, view.target), (_figure(view.value), _figure(view.coverage)))
                for view in self._worst[operator, lifter, metric]
            )
            caption = f"Worst views of {operator} × {lifter} by {HEADLINE[metric]}"
            tables.append(Table(("scene", "view"), columns, rows, caption))
        return tables

    def _add_missing(self, missing: DataFrame) -> None:
        for metric, listed in self._listed.items():
            rows = missing[missing["metric"] == metric].to_dict("records")
            about = len(listed.labels) - 2
            listed.add([[one["scene"], *[_about(one)][:about], one["reason"]] for one in rows])
        others = missing[~missing["metric"].isin([*self._listed])]
        columns = ["operator", "lifter", "metric", "reason"]
        self._blanks.update({tuple(key): int(count) for key, count in others.groupby(columns).size().items()})

    def _add_worst(self, found: DataFrame) -> None:
        for (operator, lifter, metric), rows in found.groupby(["operator", "lifter", "metric"], sort=True):
            is_high = self._sides[metric] == "higher"
            rows = rows.sort_values("value", ascending=is_high, kind="stable").head(WORST)
            lines = rows[["scene", "target", "value", "coverage"]].itertuples(index=False, name=None)
            views = [_View(scene, target, float(value), float(cover)) for scene, target, value, cover in lines]
            held = self._worst.setdefault((operator, lifter, metric), [])
            # The sort is stable: of equal views the first one of the table comes first.
            held[:] = sorted([*held, *views], key=lambda view: view.value if is_high else -view.value)[:WORST]


def _about(one: Mapping[str, str]) -> str:
    """Return what a row without a figure is about."""
    product = f"{one['operator']} × {one['lifter']}" if one["operator"] else ""
    return ", ".join(text for text in (one["target"], product) if text)


def _figure(value: float) -> Cell:
    return Cell(f"{value:.3f}", value) if value == value else Cell(NOTHING)
