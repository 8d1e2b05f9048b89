"""The table that a run ends with: few columns, all valid pixels, arrows that say which way is better."""

import math
from collections.abc import Iterable

from lift3d.metrics.catalog import build_metrics
from lift3d.pipeline.score import ALL_PIXELS
from lift3d.tables.aggregation import metric_means, pipes, render, scene_means, summary_of_means
from lift3d.tables.scene_intervals import scene_intervals
from lift3d.tables.schema import DataFrame, ScoreTable, stacked

# Fidelity first, then consistency, each error beside the floor of its warp. Every other column: lift3d tables.
HEADLINE = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "miou": "mIoU",
    "label_agreement_2d": "labels=2D",
    "scalar_error_2d": "Δ 2D",
    "feature_cosine": "cos 2D",
    "rho": "ρ",
    "label_kappa": "κ",
    "warp_error_short": "warp 0–15°",
    "warp_floor_short": "floor 0–15°",
    "warp_error_long": "warp 15–45°",
    "warp_floor_long": "floor 15–45°",
    "coverage": "cover",
}


def headline(table: ScoreTable, *, is_brief: bool = False) -> str:
    """Return the summary over all valid pixels as text, with the columns that have a figure.

    Args:
        table: Of one run or several.
        is_brief: Of several scenes, show their means alone.
    """
    return headline_of_means(headline_means([table]), is_brief=is_brief)


def headline_means(tables: Iterable[ScoreTable]) -> DataFrame:
    """Return the means of each scene over all valid pixels, see metric_means; of tables that are seen one by one.

    Args:
        tables: Whole scenes each.
    """
    found = [metric_means(ScoreTable.from_rows([]))]
    for table in tables:
        frame = table.frame
        is_shown = ~frame["protocol"].str.contains("/") | frame["protocol"].str.endswith(f"/{ALL_PIXELS}")
        found.append(metric_means(ScoreTable(frame[is_shown])))
    return stacked(found)


def headline_of_means(means: DataFrame, *, is_brief: bool = False) -> str:
    """Return the summary as text, see headline."""
    known = _known(means)
    better = {HEADLINE.get(name, name): side for name, side in better_sides().items()}
    lines = summary_of_means(means, known or None)
    is_brief = is_brief and lines["scene"].nunique() > 1
    if is_brief:
        lines = scene_means(lines)
    return render(lines.rename(columns=HEADLINE), "md", better, with_means=not is_brief)


def headline_intervals(means: DataFrame) -> str:
    """Return the means over scenes with their intervals as text, a line per metric; empty if no run has two scenes."""
    found = scene_intervals(means, _known(means) or None)
    found = found[found["ok"] + found["missing"] > 1]
    if found.empty:
        return ""
    shared = [name for name in ("run", "target_mode", "protocol") if found[name].nunique() > 1]
    cells = [
        [
            line["operator"],
            *(line[name] for name in shared),
            line["lifter"],
            HEADLINE.get(line["metric"], line["metric"]),
            f"{line['mean']:.3f}",
            f"mean of {line['ok']}/{line['ok'] + line['missing']} {_interval(line['low'], line['high'])}",
        ]
        for line in found.to_dict("records")
    ]
    headings = ["operator", *shared, "lifter", "metric", "mean", "scenes, 95 % interval"]
    caption = "Means over scenes, each scene weighing the same; intervals: bootstrap over scenes."
    return "\n".join([caption, "", *pipes(headings, cells, text_count=3 + len(shared))])


def better_sides() -> dict[str, str]:
    """Return which side of each metric is better."""
    return {one.spec.name: one.spec.better for one in build_metrics()}


def _known(means: DataFrame) -> list[str]:
    with_figure = set(means.loc[means["ok"] > 0, "metric"])
    return [name for name in HEADLINE if name in with_figure]


def _interval(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"
