"""``docs/baselines.md``: what lifters without training reach on each capture; later ones are measured against it."""

import importlib.metadata
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lift3d.config import Execution, Recipe, parse_recipe
from lift3d.errors import ConfigError
from lift3d.present.headline import headline
from lift3d.present.intervals import interval_lines
from lift3d.runs import run_serially, run_table
from lift3d.storage.location import open_store
from lift3d.tables.schema import ScoreTable

CAPTURES = ("fox", "bear", "garden", "kitchen")
PROCEDURAL = ("procedural:room?seed=1&views=24", "procedural:street?seed=1&views=24")
OPERATORS = ("rgb", "hog", "timm:vit_small_patch14_dinov2?weights=random")
LIFTERS = ("nearest_view", "depth_mean", "plane_sweep")
HEIGHT, SOURCES, HOLDOUT = 192, 8, 8


@dataclass(frozen=True, slots=True)
class Measured:
    """One capture: its table and how long lifting took."""

    name: str
    table: ScoreTable
    seconds: float
    target_count: int


def main(captures: Path, out: Path | None, store: str, plugins: Sequence[str] = ()) -> None:
    """Run every capture found and write the page.

    Args:
        captures: Folder with one folder per capture.
        out: Markdown file; standard output if None.
        store: URL of the store that holds (and resumes) the runs.
        plugins: Operators of one's own (file.py:attribute), run on captures whose views have labels.

    Raises:
        ConfigError: If the folder holds none of the captures.
    """
    found = [captures / name for name in CAPTURES if (captures / name).is_dir()]
    if not found:
        raise ConfigError(f"'{captures}' holds none of the captures {', '.join(CAPTURES)}.")
    locations = [*(str(path) for path in found), *PROCEDURAL]
    measured = [_measure(location, store, tuple(plugins)) for location in locations]
    page = _page(measured, plugins)
    if out is None:
        sys.stdout.write(page)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")


def _recipe(location: str, plugins: tuple[str, ...]) -> Recipe:
    names = tuple(plugin.rpartition(":")[2] for plugin in plugins)
    return parse_recipe(
        {
            "scenes": (location,),
            "operators": (*OPERATORS, *names),
            "lifters": LIFTERS,
            "image_height": HEIGHT,
            "sources": SOURCES,
            "holdout": HOLDOUT,
            "target_mode": "heldout",
            "plugins": plugins,
        }
    )


def _measure(location: str, store: str, plugins: tuple[str, ...]) -> Measured:
    is_labelled = location.rstrip("/").endswith("kitchen")
    recipe = _recipe(location, plugins if is_labelled else ())
    started = time.perf_counter()
    manifest = run_serially(recipe, Execution(store=store))[0]
    seconds = time.perf_counter() - started
    table = run_table(open_store(store), recipe.run_id)
    return Measured(manifest["scene"], table, seconds, manifest.get("target_count", 0))


def _page(measured: Sequence[Measured], plugins: Sequence[str]) -> str:
    version = importlib.metadata.version("lift3d")
    lines = [
        "# Baselines",
        "",
        "Lifters that need no training, on held-out views. Generated; do not edit. Made by",
        "",
        "```",
        "lift3d bench baselines --captures CAPTURES --out docs/baselines.md"
        + "".join(f" --plugin {plugin}" for plugin in plugins),
        "```",
        "",
        f"with lift3d {version}: image height {HEIGHT}, {SOURCES} sources, every {HOLDOUT}th view held out and never a "
        "source. `raw2d` is the plain 2D answer on the true image: ceiling of fidelity, floor of consistency. "
        "`/all`: all valid pixels, holes filled from the nearest covered cell; `/common`: pixels that every lifter "
        "covers. Scoring geometry is sensor or exact depth where there is some, else triangulated tracks.",
        "",
    ]
    for one in measured:
        lines += [
            f"## {one.name}",
            "",
            f"{one.target_count} targets.",
            "",
            headline(one.table),
            "",
        ]
        lines += _intervals(one)
    return "\n".join(lines)


def _intervals(one: Measured) -> list[str]:
    frame = one.table.frame
    if not bool(((frame["metric"] == "miou") & (frame["outcome"] == "ok")).any()):
        return []
    lines = [f"- {line}" for lifter in LIFTERS for line in interval_lines(one.table, "miou", lifter, "raw2d")]
    return [*lines, ""]
