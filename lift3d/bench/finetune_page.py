"""The figures of ``finetune`` as Markdown: a table per scene, a column per tuned encoder."""

from collections.abc import Sequence

from lift3d.bench.finetune import TunedFigures
from lift3d.bench.finetune_measures import ERROR, MIOU, RELATIVE_ERROR
from lift3d.bench.pages import PairedInterval, bracketed, filled_head, markdown_table, number
from lift3d.bench.probe3d import BINS, DELTA1, DEPTH_RMSE, NORMAL_DEG, NORMAL_RIGHT, recall_name

HEAD = """# What tuning an encoder on its lifted features gives

Generated; do not edit. Made on {date} with lift3d {version} by

```
{command}
```

Plain features of single views, before and after [`lift3d finetune`](training.md#tuning-an-encoder): nothing is lifted
here, and the tuned weights are loaded as any others are. Brackets are 95 % intervals of the paired bootstrap over
views, of after less before; ✓ and ✗ say that the whole interval is better, or worse; no mark, that nobody knows.

- **{error}**: mean cosine distance between the features of two views at one surface point, by the depth of both.
  **{relative}**: the same over the mean distance between any two cells of all views; features that only grow alike gain
  nothing by it.
- **Matches and probes** are those of [what features know of 3D](results-probe3d.md): recall of matches within a twelfth
  of the image's height, or by depth, by the angle between the views; linear probes for depth and normals, fitted on one
  half of the views and judged on the other.
- **{miou}**: linear probes for the scene's labels, in the same way; over the labels that a view has.
"""
# Metrics of which less is better.
_LESS = (ERROR, RELATIVE_ERROR, DEPTH_RMSE, NORMAL_DEG)
_ORDER = (
    *(ERROR, RELATIVE_ERROR),
    *(recall_name(right, at) for right in ("10 px", "2 cm", "5 cm") for at in range(len(BINS))),
    *(DEPTH_RMSE, DELTA1, NORMAL_DEG, NORMAL_RIGHT, MIOU),
)
_DIGITS = {NORMAL_DEG: 1}


def page(rows: Sequence[TunedFigures], picture: str = "") -> str:
    """Return the figures as Markdown; a picture is the name of a file beside the page."""
    commands = "\n".join(dict.fromkeys(f"{row.command}  # {row.date}" for row in rows))
    head = filled_head(HEAD, commands, error=ERROR, relative=RELATIVE_ERROR, miou=MIOU)
    shown = [f"![Features of two views in one PCA, before and after]({picture})"] if picture else []
    scenes = dict.fromkeys((row.scene, row.height, row.plain) for row in rows)
    return "\n\n".join([head.rstrip(), *shown, *(_section(rows, scene) for scene in scenes)]) + "\n"


def _section(rows: Sequence[TunedFigures], which: tuple[str, int, str]) -> str:
    own = [row for row in rows if (row.scene, row.height, row.plain) == which]
    scene, height, plain = which
    metrics = [name for name in _ORDER if any(name in row.before for row in own)]
    table = markdown_table(
        ["metric", "before", *(row.operator for row in own)],
        [[name, number(own[0].before[name], _digits(name)), *(_cell(row, name) for row in own)] for name in metrics],
    )
    about = f"{own[0].targets} views, {own[0].pairs} pairs; before is `{plain}`."
    return "\n\n".join([f"## {scene} ({height} px)", about, table])


def _cell(row: TunedFigures, name: str) -> str:
    before, after, gain = row.before[name], row.after[name], row.gains[name]
    share = f" ({after / before - 1:+.0%})" if before else ""
    return f"{number(after, _digits(name))}{share}, {bracketed(gain, _digits(name))} {verdict(name, gain)}".rstrip()


def verdict(name: str, gain: PairedInterval) -> str:
    """Return whether a change is better (✓), worse (✗), or unknown (nothing), by its whole interval."""
    low, high = (-gain.high, -gain.low) if name in _LESS else (gain.low, gain.high)
    return "✓" if low > 0 else "✗" if high < 0 else ""


def _digits(name: str) -> int:
    return _DIGITS.get(name, 3)
