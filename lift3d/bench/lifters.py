"""``docs/results.md``: lifters against each other on captures, on views that are never their own source."""

import importlib.metadata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lift3d.bench.baselines import LEAVE_ONE_OUT_BELOW
from lift3d.bench.lifter_errors import BOUND, RENDERED, scene_errors
from lift3d.bench.replayed import replayed_command
from lift3d.config import Recipe
from lift3d.scenes.catalog import read_scene
from lift3d.tables.comparison import interval

LIFTERS = ("nearest_view", "plane_sweep", "shared_weights", "separate_weights", "lift3d")
# Whom the learned lifter is measured against: without training, and without stage II.
REFERENCE, NAIVE = "plane_sweep", "shared_weights"
FULL = "lift3d"

HEAD = """# Results

Generated; do not edit. Made by

```
{command}
```

on {date} with lift3d {version}, image height {height}, {sources} sources. `heldout-N`: every N-th view is a target and
no source of any; `leave-one-out`, for captures of few views: every view is a target and not its own source.
PSNR is of all valid pixels of the full picture, holes filled from the nearest covered pixel. Errors of features are
1 − cos to the operator's own features of the true view, on up to 512 seeded cells per target that all lifters cover
(`covered` is their share). Brackets are 95 % intervals of the paired bootstrap over views. `convex` is the best, in
squared error and with the true view in hand, of nonnegative weights on the taps of `shared_weights`; the others may
read other taps and `lift3d` may subtract, so it is a yardstick for them, no bound. `gap closed` is
(shared_weights − lift3d) / (shared_weights − convex). `reencoded` is the 2D model run on the lifted picture, the guide
of `lift3d`: often nearer to the true view, but not made of what the sources saw.
"""

FIELD = """With `positional_field=subtract` the mean of features at each cell, over the views that may be sources, is
subtracted before blending, and that of the target's cell is added after. The truth is the same as without the option,
the 2D model's own answer; `convex` is the bound for what is blended.
"""


def measure(recipe: Recipe, store: str) -> dict[str, Any]:
    """Walk every scene of a recipe."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "scenes": [scene_errors(location, held_out(location, recipe), store) for location in recipe.scenes],
    }


def held_out(location: str, recipe: Recipe) -> Recipe:
    """Leave each view out in turn where every N-th would leave too few."""
    is_small = len(read_scene(location).views) < LEAVE_ONE_OUT_BELOW
    return recipe.model_copy(update={"scenes": (location,), **({"holdout": None} if is_small else {})})


def page(figures: dict[str, Any]) -> str:
    """Return the figures as markdown."""
    recipe = figures["recipe"]
    head = HEAD.format(
        command=replayed_command("lifters", recipe),
        date=datetime.now(UTC).date().isoformat(),
        version=importlib.metadata.version("lift3d"),
        height=recipe["image_height"],
        sources=recipe["sources"],
    )
    lifters = list(recipe["lifters"])
    pictures = [line for scene in figures["scenes"] for line in _pictures(scene, lifters)]
    errors = [line for scene in figures["scenes"] for line in _errors(scene, lifters)]
    has_field = any("positional_field=subtract" in name for name in recipe["operators"])
    parts = [head + FIELD if has_field else head]
    if pictures:
        parts.append(
            "## Novel views, PSNR in dB\n\n" + "\n".join([*_header(["scene", "protocol", *lifters, _GAIN]), *pictures])
        )
    if errors:
        columns = ["scene", "operator", "covered", *lifters, BOUND, RENDERED, "lift3d − shared", "gap closed"]
        parts.append(
            "## Operators, 1 − cos to the 2D answer on the true view\n\n" + "\n".join([*_header(columns), *errors])
        )
    return "\n\n".join(parts) + "\n"


_GAIN = f"{FULL} − {REFERENCE}"


def _header(columns: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]


def _by_operator(scene: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in scene["rows"]:
        groups.setdefault(row["operator"], []).append(row)
    return groups


def _pictures(scene: dict[str, Any], lifters: Sequence[str]) -> list[str]:
    lines = []
    for rows in _by_operator(scene).values():
        if rows[0]["psnr"]:
            means = [f"{_mean(rows, 'psnr', lifter):.2f}" for lifter in lifters]
            gain = _difference(rows, "psnr", FULL, REFERENCE, 2)
            lines.append(f"| {scene['scene']} | {_protocol(scene, rows)} | {' | '.join(means)} | {gain} |")
    return lines


def _errors(scene: dict[str, Any], lifters: Sequence[str]) -> list[str]:
    lines = []
    for operator, rows in _by_operator(scene).items():
        if rows[0]["psnr"]:
            continue
        names = [*lifters, BOUND, RENDERED]
        means = {name: _mean(rows, "errors", name) for name in names if name in rows[0]["errors"]}
        cells = " | ".join(f"{means[name]:.4f}" if name in means else "–" for name in names)
        covered = float(np.mean([row["covered"] for row in rows]))
        gain = _difference(rows, "errors", FULL, NAIVE, 4)
        scene_name = f"{scene['scene']}, {_protocol(scene, rows)}"
        lines.append(f"| {scene_name} | {operator} | {covered:.3f} | {cells} | {gain} | {_closed(means)} |")
    return lines


def _protocol(scene: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    return f"{scene['protocol']}, {len(rows)} views"


def _closed(means: dict[str, float]) -> str:
    if not {FULL, NAIVE, BOUND} <= means.keys():
        return "–"
    gap = means[NAIVE] - means[BOUND]
    return f"{(means[NAIVE] - means[FULL]) / gap:.0%}" if gap > 0 else "–"


def _mean(rows: Sequence[dict[str, Any]], kind: str, name: str) -> float:
    return float(np.mean([row[kind][name] for row in rows]))


def _difference(rows: Sequence[dict[str, Any]], kind: str, a: str, b: str, digits: int) -> str:
    if not {a, b} <= rows[0][kind].keys():
        return "–"
    differences = np.array([row[kind][a] - row[kind][b] for row in rows])
    low, high = interval(differences)
    return f"{differences.mean():+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
