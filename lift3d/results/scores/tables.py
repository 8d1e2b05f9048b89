"""Score tables as people see them: the usual columns, all valid pixels, the best lifter of each column marked."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from lift3d.domain.records import RAW2D
from lift3d.domain.scores import ALL_PIXELS
from lift3d.metrics.catalog import BETTER
from lift3d.results.scores.protocols import protocols_in_words
from lift3d.tables.aggregation import metric_means
from lift3d.tables.comparison import scene_intervals
from lift3d.tables.rendering import Cell, Column, Row, Table
from lift3d.tables.schema import DataFrame, ScoreTable, stacked

# What is left of disagreement first, each error beside the floor of its warp, and whether it is blur; then the truth;
# nearness to the view's own 2D answer, which is one of those that disagree, last.
HEADLINE = {
    "warp_error_long": "warp 15–45°",
    "warp_floor_long": "floor 15–45°",
    "warp_error_short": "warp 0–15°",
    "warp_floor_short": "floor 0–15°",
    "sharpness": "sharp",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "miou": "mIoU",
    "rho": "ρ",
    "label_kappa": "κ",
    "label_agreement_2d": "labels=2D",
    "scalar_error_2d": "Δ 2D",
    "feature_cosine": "cos 2D",
    "coverage": "cover",
}
LEGEND = (
    "Bold: best of the lifters, if no worse than raw2d, the plain 2D answers; warp is disagreement, which is to fall "
    "to its floor at a sharpness near 1; ρ and κ: agreement of features and labels over all views of a point, 1 is "
    "perfect; cover: share of a view that some source sees; nearness to the plain answers (2D) is agreement with one "
    "noisy witness. (1/2): one of two has a figure; –: none has; the "
    "reason stands in the table's file: where the surface knew the target's own photograph, nearness to it is not told."
)
# Floors of warps only say how far the errors can be trusted.
_MINOR = {"ssim", "coverage", "warp_floor_short", "warp_floor_long"}
# What a line is of, but for its lifter.
_GROUP = ("scene", "operator", "run", "target_mode", "protocol")


def legend(means: DataFrame) -> str:
    """Return what stands below tables of means: how their targets were chosen, and what columns and marks mean."""
    return f"{protocols_in_words(sorted(set(means['protocol'])))}\n{LEGEND}".lstrip()


def headline_means(tables: Iterable[ScoreTable]) -> DataFrame:
    """Return the means of each scene over all valid pixels, see metric_means; of tables that hold whole scenes each."""
    found = [metric_means(ScoreTable(over_all_pixels(table))) for table in tables]
    return stacked(found or [metric_means(ScoreTable.from_rows([]))])


def over_all_pixels(table: ScoreTable) -> DataFrame:
    """Return the rows over all valid pixels, and those that are over none."""
    protocol = table.frame["protocol"].str
    return table.frame[~protocol.contains("/") | protocol.endswith(f"/{ALL_PIXELS}")]


def scene_table(means: DataFrame, *, is_usual: bool = True, named: Sequence[str] = ("operator",)) -> Table:
    """Return a line per scene, operator and lifter: the columns of the headline, else all others.

    Labels that are ``named`` are shown even if all lines share them; a scene without any figure has a line, too.
    """
    return _table(means, _columns(means, is_usual=is_usual), named)


def overall_table(means: DataFrame, *, has_intervals: bool = True) -> Table:
    """Return the means over scenes, each weighing the same, with their counts and 95 % intervals by bootstrap."""
    found = scene_intervals(means, has_intervals=has_intervals)
    return _table(found.assign(scene=""), _columns(means, is_usual=True), ("operator",))


def closing_table(means: DataFrame) -> Table:
    """Return what a run ends with: its lines, of several scenes their means; none if nothing has a figure."""
    scenes = means["scene"].nunique()
    if scenes > 1:
        made = overall_table(means, has_intervals=False)
        with_figure = means[means["ok"] > 0]["scene"].nunique()
        over = f"means over {with_figure} of {scenes} scenes"
        return replace(made, caption=" · ".join(filter(None, (over, made.caption))))
    return scene_table(means[means["ok"] > 0])


def _columns(means: DataFrame, *, is_usual: bool) -> list[Column]:
    """Return the columns that have a figure: those of the headline in its order, or all others by name."""
    places = {metric: place for place, metric in enumerate(HEADLINE)}
    found = []
    for name in sorted(set(means.loc[means["ok"] > 0, "metric"])):
        # A metric whose threshold came from elsewhere says so after an @.
        metric, _, source = name.partition("@")
        if (metric in places) == is_usual:
            title = HEADLINE.get(metric, metric) + (f" @{source}" if source else "")
            found.append((places.get(metric, 0), Column(title, name, BETTER.get(metric, "neither"), metric in _MINOR)))
    return [column for _, column in sorted(found, key=lambda one: one[0])]


def _table(means: DataFrame, columns: Sequence[Column], named: Sequence[str]) -> Table:
    """Return a line per group and lifter; what all lines share and nobody named stands in the caption."""
    is_whole = means["lifter"] == ""
    # What failed as a whole, a scene or a view, has a line of its own only where a scene has no other.
    known = means[~is_whole | ~means["scene"].isin(means.loc[~is_whole, "scene"])]
    distinct = {name: sorted({*known[name]} - {""}) for name in _GROUP}
    shown = [place for place, name in enumerate(_GROUP) if name in named or len(distinct[name]) > 1]
    figures_of: Iterable[Any] = known.itertuples(index=False)
    cells = {(*(getattr(one, name) for name in _GROUP), one.lifter, one.metric): _cell(one) for one in figures_of}
    lines = sorted({key[:-1] for key in cells}, key=lambda key: (*key[:-1], key[-1] != RAW2D, key[-1]))
    rows: list[Row] = []
    for group, held in groupby(lines, key=lambda key: key[:-1]):
        found = {key[-1]: [cells.get((*key, column.key), Cell()) for column in columns] for key in held}
        # A lifter that does worse than the plain answers is not the best of anything.
        rivals = [figures for lifter, figures in found.items() if lifter != RAW2D]
        plain = found.get(RAW2D, [Cell()] * len(columns))
        best = [
            _best([figures[place] for figures in rivals], plain[place], column) for place, column in enumerate(columns)
        ]
        for lifter, figures in found.items():
            pairs = zip(figures, best, strict=True)
            marked = (replace(cell, is_best=lifter != RAW2D and cell.text == text) for cell, text in pairs)
            rows.append(Row((*(group[place] for place in shown), lifter), tuple(marked)))
    shared = {name: only[0] for name, only in distinct.items() if len(only) == 1 and name not in named}
    caption = " · ".join(f"run {text}" if name == "run" else text for name, text in shared.items())
    return Table((*(_GROUP[place] for place in shown), "lifter"), tuple(columns), tuple(rows), caption)


def _cell(one: Any) -> Cell:
    count = f"{one.ok}/{one.ok + one.missing}" if one.missing else ""
    if not one.ok:
        return Cell(count=count)
    low = getattr(one, "low", math.nan)
    spread = "" if math.isnan(low) else f"[{low:.3f}, {one.high:.3f}]"
    return Cell(f"{one.mean:.3f}", float(one.mean), count=count, spread=spread)


def _best(rivals: Sequence[Cell], plain: Cell, column: Column) -> str | None:
    """Return the best figure as it is shown; None if nothing is compared, or the plain answer is better."""
    texts = [cell.text for cell in rivals if cell.value is not None]
    if len(texts) < 2 or column.better == "neither":
        return None
    pick = max if column.better == "higher" else min
    best = pick(texts, key=float)
    return best if plain.value is None or best == pick(best, plain.text, key=float) else None
