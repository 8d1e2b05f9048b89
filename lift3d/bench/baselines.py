"""``docs/baselines.md``: what lifters without training reach on each capture; later ones are measured against it."""

import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lift3d.config import Execution, parse_recipe
from lift3d.errors import ConfigError
from lift3d.results.tables import headline_means, scene_table
from lift3d.runs.driver import run_serially
from lift3d.runs.table import run_table
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.tables.comparison import interval_lines
from lift3d.tables.rendering import to_markdown

CAPTURES = ("fox", "bear", "garden", "kitchen", "shelf")
PROCEDURAL = ("procedural:room?seed=1&views=24", "procedural:street?seed=1&views=24")
OPERATORS = ("rgb", "hog", "timm:vit_small_patch14_dinov2?weights=random")
LIFTERS = ("nearest_view", "depth_mean", "plane_sweep")
HEIGHT, SOURCES, HOLDOUT = 192, 8, 8
# A capture of fewer views cannot spare every eighth: each view is then left out in turn.
LEAVE_ONE_OUT_BELOW = 40
# Labels disagree from view to view at random: many sources vote them down, where colours want the few nearest.
LABELLED, LABEL_HEIGHT, LABEL_SOURCES = "kitchen", 240, 40

HEAD = """# Baselines

Lifters that need no training, on views that are never their own source. Generated; do not edit. Made by

```
{command}
```

with lift3d {version} at image height {height} with {sources} sources. `heldout-8`: every 8th view is a target and
no source of any; `leave-one-out`, for captures under {few} views: every view is a target and not its own source.
`raw2d` is the plain 2D answer on the true image: the ceiling of fidelity and the floor of consistency. All valid
pixels count, holes as filled from the nearest covered cell. Scoring geometry is the depth of the capture (exact for
procedural scenes), else tracks triangulated with its poses; each warp error stands beside the floor of the warp
itself. PSNR is capped at 100 dB; raw2d of `rgb` stays below because features are float16.
"""


def main(captures: Path, out: Path | None, store: str, plugins: Sequence[str] = ()) -> None:
    """Run every capture found and write the page.

    Args:
        captures: Folder with one folder per capture.
        out: Markdown file; standard output if None.
        store: URL of the store that holds (and resumes) the runs.
        plugins: Segmentation operators of one's own (file.py:attribute), run on the capture whose views have labels.

    Raises:
        ConfigError: If the folder holds none of the captures.
    """
    found = [captures / name for name in CAPTURES if (captures / name).is_dir()]
    if not found:
        raise ConfigError(f"'{captures}' holds none of the captures {', '.join(CAPTURES)}.")
    sections = [_section(location, store) for location in (*map(str, found), *PROCEDURAL)]
    if plugins and (captures / LABELLED).is_dir():
        sections.append(_labels_section(str(captures / LABELLED), store, plugins))
    page = "\n".join([_head(plugins), *sections])
    if out is None:
        sys.stdout.write(page)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")


def _head(plugins: Sequence[str]) -> str:
    command = "lift3d bench baselines --captures CAPTURES --out docs/baselines.md"
    return HEAD.format(
        command=command + "".join(f" --plugin {plugin}" for plugin in plugins),
        version=importlib.metadata.version("lift3d"),
        height=HEIGHT,
        sources=SOURCES,
        few=LEAVE_ONE_OUT_BELOW,
    )


def _section(location: str, store: str) -> str:
    is_large = len(read_scene(location).views) >= LEAVE_ONE_OUT_BELOW
    recipe: dict[str, Any] = {"operators": OPERATORS, "lifters": LIFTERS, "image_height": HEIGHT, "sources": SOURCES}
    name, text, _ = _run({**recipe, "scenes": (location,), "holdout": HOLDOUT if is_large else None}, store)
    return f"## {name}\n\n{text}\n"


def _labels_section(location: str, store: str, plugins: Sequence[str]) -> str:
    recipe = {
        "scenes": (location,),
        "operators": tuple(plugin.rpartition(":")[2] for plugin in plugins),
        "lifters": LIFTERS,
        "image_height": LABEL_HEIGHT,
        "sources": LABEL_SOURCES,
        "holdout": HOLDOUT,
        "plugins": tuple(plugins),
    }
    name, text, lines = _run(recipe, store)
    title = f"## {name}, segmentation networks (height {LABEL_HEIGHT}, {LABEL_SOURCES} sources)"
    gains = "\n".join(f"- {line}" for line in lines)
    return f"{title}\n\n{text}\n\nPaired bootstrap over views:\n\n{gains}\n"


def _run(fields: dict[str, Any], store: str) -> tuple[str, str, list[str]]:
    """Run one recipe and return the scene's name, its table, and the intervals of mIoU where there are labels."""
    recipe = parse_recipe({**fields, "target_mode": "heldout"})
    record = run_serially(recipe, Execution(store=store))[0]
    table = run_table(open_store(store), recipe.run_id)
    measured = set(table.frame.loc[table.frame["outcome"] == "ok", "metric"])
    lines = [
        line for lifter in LIFTERS if "miou" in measured for line in interval_lines(table, "miou", lifter, "raw2d")
    ]
    text = f"{record.target_count} targets.\n\n{to_markdown(scene_table(headline_means([table])))}"
    return record.scene, text, lines
