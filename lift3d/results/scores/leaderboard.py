"""Operators × lifters over the scenes of one or several runs: a line each, sortable by any figure."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lift3d.domain.records import RAW2D
from lift3d.errors import ConfigError
from lift3d.metrics.catalog import BETTER
from lift3d.results.scores.answers import Answer, answers_of
from lift3d.results.scores.tables import HEADLINE, headline_means
from lift3d.runs.records import choose_run
from lift3d.runs.table import run_parts
from lift3d.storage.location import open_store
from lift3d.tables.comparison import ratio_interval
from lift3d.tables.rendering import Cell, Column, Row, Table
from lift3d.tables.schema import DataFrame, plain_csv

LABELS = ("operator", "lifter")
# Beside what is left of disagreement stands what it may have been bought by.
_FIRST = ("sharpness", "psnr", "ssim", "miou")
_SHARES = ("left", "left_low", "left_high")
LEGEND = (
    "left: of the disagreement of the plain 2D answers (raw2d) between distant views (15° to 45° apart, else nearer "
    "ones), above what the warp itself errs by, the share that remains, with its 95 % interval over scenes. scenes: "
    "that have figures, of all. Everything else: means over scenes, each weighing the same."
)


@dataclass(frozen=True, slots=True, eq=False)
class Leaderboard:
    """A line per operator, lifter and run, in a frame: what is left, and means over scenes.

    Columns: ``left`` of the disagreement of raw2d above the floor of the warp, with its 95 % interval over scenes
    (``left_low``, ``left_high``; missing of one scene), ``store`` and ``run``, ``between`` which views (long or
    short), then a column per metric of the headline. ``scenes`` have a figure, of ``of_scenes``.
    """

    frame: DataFrame

    def to_csv(self) -> str:
        """Return the lines as CSV that a spreadsheet shows as it is."""
        return plain_csv(self.frame)

    def table(self, digits: int = 3) -> Table:
        """Return the lines as a table: all columns that have a figure."""
        lines = self.frame.to_dict("records")
        known = [name for name in HEADLINE if self.frame[name].notna().any()]
        metrics = sorted(known, key=lambda name: name not in _FIRST)
        # Which line is whose: of one run all lines are.
        sources = [name for name in ("store", "run") if self.frame[name].nunique() > 1] or ["run"]
        columns = (
            Column("left", "left", "lower"),
            Column("scenes", "scenes"),
            *(Column(name, name) for name in sources),
            *(Column(HEADLINE[name], name, BETTER.get(name, "neither")) for name in metrics),
        )
        rows = tuple(
            Row(
                tuple(str(line[name]) for name in LABELS),
                (
                    _left(line),
                    Cell(f"{line['scenes']}/{line['of_scenes']}", float(line["scenes"])),
                    *(Cell(line[name].rstrip("/").rpartition("/")[2]) for name in sources),
                    *(_figure(float(line[name]), digits) for name in metrics),
                ),
            )
            for line in lines
        )
        return Table(LABELS, columns, rows, f"{len(lines)} operators × lifters")


def leaderboard(references: Sequence[str]) -> Leaderboard:
    """Return the leaderboard of stores: of each its latest run, or URL#RUN; the best line of each operator first.

    ConfigError if no run has a figure.
    """
    lines: list[dict[str, Any]] = []
    for store, run_id in dict.fromkeys(_runs(references)):
        means = headline_means(run_parts(open_store(store), run_id))
        lines += _lines(means[means["lifter"] != ""], run_id, store)
    if not lines:
        raise ConfigError(f"No run of {', '.join(references)} has a figure; lift3d status says how far they are.")
    frame = DataFrame(lines)
    return Leaderboard(frame.sort_values(["operator", "left"], kind="stable", na_position="last", ignore_index=True))


def _runs(references: Iterable[str]) -> Iterator[tuple[str, str]]:
    for reference in references:
        url, _, run_id = reference.partition("#")
        yield url, choose_run(open_store(url), run_id or None)


def _lines(means: DataFrame, run_id: str, store: str) -> Iterator[dict[str, Any]]:
    known = means[means["ok"] > 0]
    of_scenes = int(means["scene"].nunique())
    figures = known.groupby(["operator", "lifter", "metric"])["mean"].mean()
    answers = {(one.operator, one.lifter): one for one in answers_of(means)}
    for (operator, lifter), own in known.groupby(["operator", "lifter"]):
        answer = answers.get((operator, lifter), Answer(operator, lifter))
        low, high = _interval(known[known["operator"] == operator], answer)
        shares = dict(zip(_SHARES, (answer.left, low, high), strict=True))
        named = {"operator": operator, "lifter": lifter, "run": run_id, "store": store}
        named["scenes"] = int(own["scene"].nunique())
        metrics = {name: figures.get((operator, lifter, name), math.nan) for name in HEADLINE}
        yield {**named, "of_scenes": of_scenes, **shares, "between": answer.reach, **metrics}


def _interval(known: DataFrame, answer: Answer) -> tuple[float, float]:
    """Return the interval over scenes of what is left; NaN where there is no such figure, or one scene."""
    if math.isnan(answer.left):
        return math.nan, math.nan
    above = []
    for lifter in (answer.lifter, RAW2D):
        own = known[known["lifter"] == lifter].pivot_table(index="scene", columns="metric", values="mean")
        above.append(own[f"warp_error_{answer.reach}"] - own[f"warp_floor_{answer.reach}"])
    part, whole = above[0].align(above[1], join="inner")
    return ratio_interval(part.to_numpy(), whole.to_numpy())


def _left(line: dict[Any, Any]) -> Cell:
    value, low, high = (float(line[name]) for name in _SHARES)
    if math.isnan(value):
        return Cell()
    spread = "" if math.isnan(low) else f"[{100 * low:.0f}, {100 * high:.0f}]"
    return Cell(f"{100 * value:.0f} %", value, spread=spread)


def _figure(value: float, digits: int) -> Cell:
    return Cell() if math.isnan(value) else Cell(f"{value:.{digits}f}", value)
