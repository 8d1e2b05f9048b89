"""Where a run fails: scenes, lifters, views and figures that are missing, and the views that came out worst.

Gathered part by part of the table, so that memory is that of what is shown and of one part.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lift3d.domain.records import RAW2D
from lift3d.ingest.diagnosis.finding import some_of
from lift3d.metrics.catalog import build_metrics
from lift3d.results.scores.tables import HEADLINE, over_all_pixels
from lift3d.tables.rendering import NOTHING, Cell, Column, Row, Table, text_table
from lift3d.tables.schema import DataFrame, ScoreTable, stacked

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


class Failures:
    """What is gathered from the table of a run."""

    def __init__(self) -> None:
        self._listed = {
            "usable_scene": Listed("Scenes that failed", ("scene", "reason")),
            "usable_lifter": Listed("Lifters that could not run", ("scene", "operator × lifter", "reason")),
            "lift": Listed("Targets that were not lifted", ("scene", "target, operator × lifter", "reason")),
            "usable_view": Listed("Views that were dropped", ("scene", "view", "reason")),
        }
        self._blanks: Counter[tuple[str, str, str, str]] = Counter()
        # What a figure is multiplied by so that the worst is the smallest.
        self._signs = {
            one.spec.name: 1 if one.spec.better == "higher" else -1
            for one in build_metrics()
            if one.spec.scope in ("view", "pair") and one.spec.better != "neither" and one.spec.name in HEADLINE
        }
        self._worst = ScoreTable.from_rows([]).frame.assign(badness=0.0)

    def add(self, table: ScoreTable) -> None:
        """Look at a part of the table, whole scenes."""
        frame = over_all_pixels(table)
        self._add_missing(frame[frame["outcome"] != "ok"])
        found = frame[(frame["outcome"] == "ok") & (frame["lifter"] != RAW2D) & frame["metric"].isin(self._signs)]
        ranked = found.assign(badness=found["value"] * found["metric"].map(self._signs).astype(float))
        # The sort is stable: of equal views the first one of the table comes first.
        both = stacked([self._worst, ranked]).sort_values("badness", kind="stable")
        self._worst = both.groupby(["operator", "lifter", "metric"]).head(WORST)

    @property
    def listed(self) -> list[Listed]:
        """What is missing: scenes, lifters, targets and views, then figures by the reason that is given most often."""
        blanks = Listed("Reasons why figures are missing", ("reason", "figures", "operator × lifter", "how often"))
        counts: Counter[str] = Counter()
        by_reason: defaultdict[str, list[tuple[str, str, str, str]]] = defaultdict(list)
        for key, count in self._blanks.items():
            counts[key[3]] += count
            by_reason[key[3]].append(key)
        for why, count in counts.most_common():
            own = by_reason[why]
            metrics = dict.fromkeys(HEADLINE.get(metric, metric) for _, _, metric, _ in own)
            pairs = dict.fromkeys(f"{operator} × {lifter}" for operator, lifter, _, _ in own)
            blanks.add([[why, some_of([*metrics]), some_of([*pairs]), f"{count} times"]])
        return [one for one in (*self._listed.values(), blanks) if one.count]

    def worst(self, lifters: Mapping[str, str]) -> list[Table]:
        """Return the worst views or pairs of each operator, the worst first, by the first usual metric that it has.

        They are those of the operator's lifter in ``lifters``, whose order is that of the tables.
        """
        tables = []
        for operator, lifter in lifters.items():
            own = self._worst[(self._worst["operator"] == operator) & (self._worst["lifter"] == lifter)]
            if own.empty:
                continue
            metric = min(own["metric"], key=list(HEADLINE).index)
            columns = (Column(HEADLINE[metric], metric), Column("coverage"))
            rows = tuple(
                Row((view["scene"], _view(view)), (_figure(view["value"]), _figure(view["coverage"])))
                for view in own[own["metric"] == metric].to_dict("records")
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


def _about(one: Mapping[str, str]) -> str:
    """Return what a row without a figure is about."""
    product = f"{one['operator']} × {one['lifter']}" if one["operator"] else ""
    return ", ".join(text for text in (one["target"], product) if text)


def _view(one: Mapping[str, str]) -> str:
    return " – ".join(text for text in (one["target"], one["other"]) if text)


def _figure(value: float) -> Cell:
    return Cell(f"{value:.3f}", value) if value == value else Cell(NOTHING)
