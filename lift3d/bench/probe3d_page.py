"""The figures of ``probe3d`` as Markdown: all at a glance, then a table per scene and operator."""

from collections.abc import Sequence

from lift3d.bench.pages import bracketed, filled_head, markdown_table, number
from lift3d.bench.probe3d import (
    BINS,
    DEPTH_RMSE,
    HELDOUT,
    NORMAL_DEG,
    OVERLAP,
    PAIRS_PER_VIEW,
    SWEEP,
    ProbeFigures,
    recall_name,
)
from lift3d.bench.probe3d_measures import FEWEST_ROWS, FITTED_CELLS, KEPT, RIDGE, SCALE
from lift3d.domain.records import RAW2D
from lift3d.tables.rendering import NOTHING

HEAD = """# What features know of 3D

Generated; do not edit. Made on {date} with lift3d {version} by

```
{command}
```

The same views, pairs and cells for every row. `raw2d` is the operator on the true view; `refine` reads features off
the surface with each view among the sources; `heldout` with no target among them. Their surface is the best that a
scene has, which here comes from the depth that judges: that one point of it is told the same in all views is given to
them, and recall says how far features tell points *apart*. `heldout, sweep` has its surface from the photographs
alone. `heldout, finer cells` reads cells a quarter as wide as the network's. Brackets are 95 % intervals of the paired
bootstrap over views, of the gain over `raw2d`.

- **Matches** (Probe3D): features read bicubically at cells of {scale} of the image, or {rows} rows where that is more;
  two nearest neighbours by cosine from each cell with depth, weight 1 − d1/d2, the heaviest {kept} kept. Right within
  10 px at a quarter of 480 rows (a twelfth of the image's height), or 2 and 5 cm by depth, where units are metres. Bins
  are of the median angle between the rays to what both views see. Each view is paired with at most {per_view} others
  per bin that see {overlap:.0%} of its points or more; what the other does not see cannot be matched rightly.
- **Probes**: ridge regression in closed form on standardised channels, λ = {ridge:g}, {fitted} cells at most of one
  half of the views, judged on the other half, then the other way round. Depth is told by its logarithm, RMSE is in the
  scene's units; normals, of depth by central differences, are in the camera's frame. `place alone` is a probe on the
  pixel's coordinates.

Aims: recall of lifted features above raw at all angles over 15°, by 5 points over 30°; {missed} marks what misses.

## At a glance
"""
_MISSED = "✗"
_DIGITS = {NORMAL_DEG: 1}


def page(rows: Sequence[ProbeFigures]) -> str:
    """Return the figures as Markdown."""
    commands = "\n".join(dict.fromkeys(f"{row.command}  # {row.date}" for row in rows))
    head = filled_head(
        HEAD, commands, scale=SCALE, rows=FEWEST_ROWS, kept=KEPT,
        per_view=PAIRS_PER_VIEW, overlap=OVERLAP, ridge=RIDGE, fitted=FITTED_CELLS, missed=_MISSED,
    )  # fmt: skip
    recalls = [recall_name("10 px", at) for at in range(len(BINS))]
    shown = [one for one in (*recalls, DEPTH_RMSE, NORMAL_DEG) if any(one in row.means[RAW2D] for row in rows)]
    glance = markdown_table(
        ["scene", "operator", "lifted", *shown],
        [
            [row.scene, f"{row.operator} ({row.height} px)", way, *(_glance(row, way, metric) for metric in shown)]
            for row in rows
            for way in (HELDOUT, SWEEP)
        ],
        label_count=3,
    )
    return "\n\n".join([head + "\n" + glance, *(_section(row) for row in rows)]) + "\n"


def is_missed(row: ProbeFigures, way: str, metric: str) -> bool:
    """Whether recall falls short of its aim."""
    least = {recall_name("10 px", at): 0.05 if low >= 30 else 0.0 for at, (low, _) in enumerate(BINS) if low >= 15}
    return metric in least and row.gains[way][metric].mean <= least[metric]


def _glance(row: ProbeFigures, way: str, metric: str) -> str:
    if metric not in row.gains[way]:
        return NOTHING
    digits = _DIGITS.get(metric, 3)
    raw, own = (number(row.means[name][metric], digits) for name in (RAW2D, way))
    return f"{raw} → {own}, {bracketed(row.gains[way][metric], digits)}" + f" {_MISSED}" * is_missed(row, way, metric)


def _section(row: ProbeFigures) -> str:
    metrics = list(row.means[RAW2D])
    table = markdown_table(
        ["row", *metrics],
        [
            [name, *(number(own.get(metric), _DIGITS.get(metric, 3)) for metric in metrics)]
            for name, own in row.means.items()
        ],
    )
    pairs = ", ".join(
        f"{count} pairs at {angles} (overlap {share:.0%})" for angles, (count, share) in row.overlaps.items()
    )
    about = f"{row.targets} targets, surface from {row.geometry}; {pairs}."
    return "\n\n".join([f"## {row.scene}, {row.operator} ({row.height} px)", about, table])
