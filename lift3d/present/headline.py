"""The table that a run ends with: few columns, all valid pixels, arrows that say which way is better."""

from lift3d.metrics.catalog import build_metrics
from lift3d.scene_scores import ALL_PIXELS
from lift3d.tables.aggregation import render, scene_means, summary
from lift3d.tables.schema import ScoreTable

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
    frame = table.frame
    shown = ScoreTable(frame[~frame["protocol"].str.contains("/") | frame["protocol"].str.endswith(f"/{ALL_PIXELS}")])
    known = set(shown.frame.loc[shown.frame["outcome"] == "ok", "metric"])
    better = {HEADLINE.get(one.spec.name, one.spec.name): one.spec.better for one in build_metrics()}
    lines = summary(shown, [name for name in HEADLINE if name in known] or None)
    is_brief = is_brief and lines["scene"].nunique() > 1
    if is_brief:
        lines = scene_means(lines)
    return render(lines.rename(columns=HEADLINE), "md", better, with_means=not is_brief)
