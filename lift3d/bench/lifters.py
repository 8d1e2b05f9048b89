"""``docs/results.md``: lifters against each other on captures, on views that are never their own source."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lift3d.bench.lifter_errors import RENDERED, SceneErrors, TargetErrors, scene_errors
from lift3d.bench.pages import bracketed, filled_head, markdown_table, number, paired, replayed_command
from lift3d.config import Recipe
from lift3d.scenes.catalog import read_scene

LIFTERS = ("nearest_view", "plane_sweep", "anchored", "shared_weights", "separate_weights", "lift3d")
# Whom the learned lifter is measured against: without training, and without stage II.
REFERENCE, NAIVE = "plane_sweep", "shared_weights"
FULL = "lift3d"
# A capture of fewer views cannot spare every eighth: each view is then left out in turn.
LEAVE_ONE_OUT_BELOW = 40
Rows = Sequence[TargetErrors]
Values = Sequence[dict[str, float]]  # Of every target, by lifter.

HEAD = """# Results

Generated; do not edit. Made by

```
{command}
```

on {date} with lift3d {version}, image height {height}, {sources} sources. `heldout-N`: every N-th view is a target and
no source of any; `leave-one-out`, for captures of few views: every view is a target and not its own source.
PSNR is of all valid pixels of the full picture, holes filled from the nearest covered pixel. Errors of features are
1 − cos to the operator's own features of the true view, on up to 512 seeded cells per target that all lifters cover
(`covered` is their share). Brackets are 95 % intervals of the paired bootstrap over views.
`anchored` has the surface that the target's sources show; in a run it has that of all views which are not held out.
`reencoded` is the 2D model run on the lifted picture, the guide
of `lift3d`: often nearer to the true view, but not made of what the sources saw.
"""

FIELD = """With `positional_field=subtract` the mean of features at each cell, over the views that may be sources, is
subtracted before blending, and that of the target's cell is added after. The truth is the same as without the option,
the 2D model's own answer.
"""


@dataclass(frozen=True, slots=True)
class LifterFigures:
    """What ``lift3d bench lifters`` measured, and of what."""

    recipe: Recipe
    scenes: tuple[SceneErrors, ...]


def measure(recipe: Recipe, store: str) -> LifterFigures:
    """Walk every scene of a recipe."""
    scenes = (scene_errors(location, held_out(location, recipe), store) for location in recipe.scenes)
    return LifterFigures(recipe, tuple(scenes))


def held_out(location: str, recipe: Recipe) -> Recipe:
    """Leave each view out in turn where every N-th would leave too few."""
    is_small = len(read_scene(location).views) < LEAVE_ONE_OUT_BELOW
    return recipe.model_copy(update={"scenes": (location,), **({"holdout": None} if is_small else {})})


def page(figures: LifterFigures) -> str:
    """Return the figures as Markdown."""
    recipe, lifters = figures.recipe, figures.recipe.lifters
    command = replayed_command("lifters", recipe)
    head = filled_head(HEAD, command, height=recipe.image_height, sources=recipe.sources)
    has_field = any("positional_field=subtract" in name for name in recipe.operators)
    parts = [head + FIELD if has_field else head]
    groups = [(scene, *group) for scene in figures.scenes for group in _by_operator(scene.rows).items()]
    pictures = [_picture_row(scene, rows, lifters) for scene, _, rows in groups if rows[0].psnr]
    errors = [_error_row(scene, name, rows, lifters) for scene, name, rows in groups if not rows[0].psnr]
    if pictures:
        columns = ["scene", "protocol", *lifters, f"{FULL} − {REFERENCE}"]
        parts.append("## Novel views, PSNR in dB\n\n" + markdown_table(columns, pictures, 2))
    if errors:
        columns = ["scene", "operator", "covered", *lifters, RENDERED, "lift3d − shared"]
        title = "## Operators, 1 − cos to the 2D answer on the true view"
        parts.append(f"{title}\n\n{markdown_table(columns, errors, 2)}")
    return "\n\n".join(parts) + "\n"


def _by_operator(rows: Rows) -> dict[str, list[TargetErrors]]:
    """Return the rows of each operator, in the order in which operators come."""
    names = dict.fromkeys(row.operator for row in rows)
    return {name: [row for row in rows if row.operator == name] for name in names}


def _picture_row(scene: SceneErrors, rows: Rows, lifters: Sequence[str]) -> list[str]:
    psnr = [row.psnr for row in rows]
    means = [number(_mean(psnr, lifter), 2) for lifter in lifters]
    return [scene.scene, _protocol(scene, rows), *means, _difference(psnr, FULL, REFERENCE, 2)]


def _error_row(scene: SceneErrors, operator: str, rows: Rows, lifters: Sequence[str]) -> list[str]:
    errors = [row.errors for row in rows]
    means = [number(_mean(errors, name), 4) for name in (*lifters, RENDERED)]
    covered = number(float(np.mean([row.covered for row in rows])))
    place = f"{scene.scene}, {_protocol(scene, rows)}"
    return [place, operator, covered, *means, _difference(errors, FULL, NAIVE, 4)]


def _protocol(scene: SceneErrors, rows: Rows) -> str:
    return f"{scene.protocol}, {len(rows)} views"


def _mean(values: Values, name: str) -> float | None:
    return float(np.mean([own[name] for own in values])) if name in values[0] else None


def _difference(values: Values, a: str, b: str, digits: int) -> str:
    if not {a, b} <= values[0].keys():
        return "–"
    return bracketed(paired(np.array([own[a] - own[b] for own in values])), digits)
