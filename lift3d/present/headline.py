"""The table that a run ends with: few columns, one protocol, arrows that say which way is better."""

from lift3d.metrics.catalog import build_metrics
from lift3d.scene_scores import ALL_PIXELS
from lift3d.tables.aggregation import render, summary
from lift3d.tables.schema import ScoreTable

# Fidelity first, then consistency, each error beside the floor of its warp. Every other column: lift3d tables.
HEADLINE = (
    "psnr",
    "ssim",
    "miou",
    "label_agreement_2d",
    "scalar_error_2d",
    "feature_cosine",
    "rho",
    "label_kappa",
    "warp_error_short",
    "warp_floor_short",
    "warp_error_long",
    "warp_floor_long",
    "coverage",
)


def headline(table: ScoreTable) -> str:
    """Return the summary over all valid pixels as text, with the columns that have a figure."""
    frame = table.frame
    shown = frame[~frame["protocol"].str.contains("/") | frame["protocol"].str.endswith(f"/{ALL_PIXELS}")]
    known = set(shown.loc[shown["outcome"] == "ok", "metric"])
    better = {metric.spec.name: metric.spec.better for metric in build_metrics()}
    names = [name for name in HEADLINE if name in known] or sorted(known)
    return render(summary(ScoreTable(shown), names or None), "md", better)
