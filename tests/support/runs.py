"""Small recipes for tests of the whole line, and what of a store two runs must have in common."""

import json
from pathlib import Path

import pandas as pd

from lift3d.config import Execution, Recipe, parse_recipe
from lift3d.domain.records import SceneRecord
from lift3d.runs.driver import run_serially
from lift3d.runs.table import run_table
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import open_product
from lift3d.tables.schema import ScoreTable

ROOM = "procedural:room?views=6&height=48&width=64"
STREET = "procedural:street?views=6&height=48&width=64"


def small_recipe(**fields: object) -> Recipe:
    """Return a recipe that takes a second or two: leave-one-out over six tiny views."""
    given: dict[str, object] = {
        "scenes": [ROOM],
        "operators": ["rgb", "hog"],
        "lifters": ["plane_sweep", "anchored"],
        "image_height": 48,
        "sources": 3,
        "target_mode": "heldout",
    }
    return parse_recipe({**given, **fields})


def tiny_rooms(count: int, **fields: object) -> Recipe:
    """Return a recipe that takes a moment per scene: three views of 24 rows."""
    scenes = [f"procedural:room?seed={seed}&views=3&height=24&width=32" for seed in range(count)]
    given = {"scenes": scenes, "operators": ["rgb"], "lifters": ["plane_sweep"], "image_height": 24}
    return small_recipe(**{**given, **fields})


def run_into(url: str, recipe: Recipe) -> list[SceneRecord]:
    return run_serially(recipe, Execution(store=url))


def rows_of(url: str, recipe: Recipe) -> pd.DataFrame:
    return run_table(open_store(url), recipe.run_id).frame


def ran(folder: Path, **fields: object) -> tuple[SceneRecord, pd.DataFrame]:
    """Run a small recipe into ``folder/store``; return the record of its first scene and the rows of its table."""
    url, recipe = str(folder / "store"), small_recipe(**fields)
    return run_into(url, recipe)[0], rows_of(url, recipe)


def canonical_table(url: str, recipe: Recipe) -> bytes:
    """Return the table with every bit of every number, without run, time or attempt."""
    return canonical_bytes(run_table(open_store(url), recipe.run_id))


def canonical_bytes(table: ScoreTable) -> bytes:
    """Return a table of one run with every bit of every number, without the run."""
    return json.dumps(table.frame.drop(columns="run").to_dict(orient="records")).encode()


def canonical_arrays(url: str, records: list[SceneRecord]) -> dict[str, bytes]:
    """Return every array of every lifted product, by product and name."""
    store: Store = open_store(url)
    paths = [path for one in records for product in one.lifted for path in product.parts]
    found = {}
    for path in paths:
        product = open_product(store, path)
        for name in product.names:
            values = product.array(name)
            found[f"{path}/{name}"] = str(values.tolist()).encode() if values.dtype.kind in "UTO" else values.tobytes()
    return found
