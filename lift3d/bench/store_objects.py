"""How many objects a run writes for features and lifted views: ``lift3d bench storage --count``."""

import tempfile
from collections import Counter

from lift3d.bench.scene_costs import CountingStore
from lift3d.config import Recipe
from lift3d.pipeline.models import Models
from lift3d.runs.driver import attempt_scene
from lift3d.runs.records import begin_run
from lift3d.storage.location import open_store

VIEW_COUNT = 100
OPERATORS = ("rgb", "hog", "felzenszwalb")
LIFTER = "anchored"
_SCENE = "procedural:room?views={views}&height=32&width=40"


def count_objects(view_count: int = VIEW_COUNT) -> dict[str, int]:
    """Run a scene whose images are tiny, and return the writes of each kind: features, raw2d and the lifter's."""
    recipe = Recipe(scenes=(_SCENE.format(views=view_count),), operators=OPERATORS, lifters=(LIFTER,), image_height=32)
    with tempfile.TemporaryDirectory() as folder:
        open_store(f"{folder}/store", create=True)
        store = CountingStore(f"{folder}/store")
        begin_run(recipe, store)
        attempt_scene(recipe.scenes[0], recipe, Models.of(recipe), store)
    counts: Counter[str] = Counter()
    for key in store.written:
        segments = key.split("/")  # scenes/SCENE/features/… or scenes/SCENE/lifted/OPERATOR/LIFTER/…
        if segments[0] == "scenes" and segments[2] in ("features", "lifted"):
            counts[segments[2] if segments[2] == "features" else segments[4]] += 1
    return dict(counts)


def objects_table(counts: dict[str, int], view_count: int = VIEW_COUNT) -> str:
    """Return the counts as a Markdown table."""
    pairs = view_count * len(OPERATORS)
    total = sum(counts.values())
    lines = ["| | objects | per view and operator |", "| --- | ---: | ---: |"]
    lines += [f"| {kind} | {count} | {count / pairs:.2f} |" for kind, count in sorted(counts.items())]
    return "\n".join([*lines, f"| together | {total} | {total / pairs:.2f} |"])
