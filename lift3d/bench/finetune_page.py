"""The figures of ``finetune`` as Markdown: a table per scene, a column per tuned encoder."""

from collections.abc import Sequence
from pathlib import Path, PurePath

import torch

from lift3d.bench.finetune import TunedFigures
from lift3d.bench.finetune_measures import ERROR, MIOU, RELATIVE_ERROR
from lift3d.bench.pages import PairedInterval, bracketed, filled_head, markdown_table, number
from lift3d.bench.probe3d import BINS, DELTA1, DEPTH_RMSE, NORMAL_DEG, NORMAL_RIGHT, recall_name
from lift3d.operators.catalog import build_operator
from lift3d.operators.names import OperatorName
from lift3d.pipeline.encode import encode_view
from lift3d.results.colours import ScenePca
from lift3d.results.pictures import Sheet
from lift3d.scenes.catalog import read_scene

HEAD = """# What tuning an encoder on its lifted features gives

Generated; do not edit. Made on {date} with lift3d {version} by

```
{command}
```

Plain features of single views, before and after [`lift3d finetune`](training.md#tuning-an-encoder): nothing is lifted
here, and the tuned weights are loaded as any others are. Brackets are 95 % intervals of the paired bootstrap over
views, of after less before; ✓ and ✗ say that the whole interval is better, or worse; no mark, that nobody knows.

{tuned}

- **{error}**: mean cosine distance between the features of two views at one surface point, by the depth of both.
  **{relative}**: the same over the mean distance between any two cells of all views; features that only grow
  alike gain nothing by it.
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
_CAPTION = (
    "Plain features of two views of a computed scene that was not tuned on: the view, before, and after; three main "
    "components of both views, one basis per encoder."
)
# Rows of the views that are drawn.
_DRAWN_ROWS = 336


def page(rows: Sequence[TunedFigures], picture: str = "") -> str:
    """Return the figures as Markdown; a picture is the name of a file beside the page."""
    commands = "\n".join(dict.fromkeys(f"{row.command}  # {row.date}" for row in rows))
    tuned = {_short(row.operator): row.tuned_by for row in rows if row.tuned_by}
    made = (
        "Tuned by" + "".join(f"\n\n```\n{command}  # {name}\n```" for name, command in tuned.items()) if tuned else ""
    )
    head = filled_head(HEAD, commands, tuned=made, error=ERROR, relative=RELATIVE_ERROR, miou=MIOU)
    shown = [f"![{_CAPTION}]({picture})\n\n{_CAPTION}"] if picture else []
    scenes = dict.fromkeys((row.scene, row.height, row.plain) for row in rows)
    return "\n\n".join([head.rstrip(), *shown, *(_section(rows, scene) for scene in scenes)]) + "\n"


def _section(rows: Sequence[TunedFigures], which: tuple[str, int, str]) -> str:
    own = [row for row in rows if (row.scene, row.height, row.plain) == which]
    scene, height, plain = which
    metrics = [name for name in _ORDER if any(name in row.before for row in own)]
    table = markdown_table(
        ["metric", "before", *(_short(row.operator) for row in own)],
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


def _short(operator: str) -> str:
    """Return the name of the file of weights, if an operator has one."""
    weights = OperatorName.parse(operator).option("weights", "")
    return PurePath(weights).stem if weights.endswith(".safetensors") else operator


def _digits(name: str) -> int:
    return _DIGITS.get(name, 3)


def draw(location: str, operators: Sequence[str], out: Path) -> None:
    """Write two views of a scene, a row each, and what encoders say of them, as one picture."""
    views = read_scene(location).views
    frames = [views[at].load(_DRAWN_ROWS) for at in (len(views) // 4, 3 * len(views) // 4)]
    columns = [("view", [frame.image.permute(1, 2, 0).numpy() for frame in frames])]
    for at, name in enumerate(operators):
        operator = build_operator(name)
        maps = [encode_view(operator, frame)[0].values for frame in frames]
        pca = ScenePca.of(torch.cat([one.flatten(1).T for one in maps]))
        columns.append((_short(name) if at else "before", [pca.picture(one) for one in maps]))
    figure = Sheet(figsize=(4 * len(columns), 6), layout="constrained")
    axes = figure.subplots(len(frames), len(columns), squeeze=False)
    for column, (title, pictures) in enumerate(columns):
        axes[0, column].set_title(title)
        for row, picture in enumerate(pictures):
            axes[row, column].imshow(picture)
            axes[row, column].set(xticks=[], yticks=[])
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(str(out), dpi=72, pil_kwargs={"quality": 80})
