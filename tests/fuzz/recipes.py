"""Recipes and executions: known fields with other values, most of which are right, and files with places changed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from hypothesis import strategies as st

from lift3d.cli import app as cli
from lift3d.config import Execution, Recipe
from lift3d.errors import Lift3dError
from lift3d.lifters.catalog import LIFTERS
from lift3d.metrics.catalog import METRICS
from tests.fuzz.edits import EDITS, edited
from tests.fuzz.stores import VALUES
from tests.fuzz.tally import LONGEST, Cases, refused

ROOM = "procedural:room?seed={}&views=3&height=24&width=32"
RECIPE = {"scenes": [ROOM.format(1)], "image_height": 24, "sources": 2}
EXECUTION = {"workers": 1}
FILES = {"recipe.yaml": (Recipe, RECIPE), "execution.yaml": (Execution, EXECUTION)}
# One value in eight is wrong, and of one case in four the text of the files is changed as well; Hypothesis draws the
# ends of integers far more often than their share.
IS_WRONG, IS_EDITED = (st.sampled_from([*[False] * others, True]) for others in (7, 3))
# Numbers far beyond any use are right, too.
LARGEST = 10**12


def some(*names: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True)


# Fields whose values are names; those of all others are in their schema.
NAMED: dict[str, st.SearchStrategy[Any]] = {
    "scenes": some(*map(ROOM.format, range(3)), "procedural:street?views=2&height=16&width=20"),
    "operators": some("rgb", "hog", "felzenszwalb", "tiny:encoder", "tiny:depth", "open_vocabulary?prompts=a&of=rgb"),
    "lifters": some(*LIFTERS),
    "metrics": some(*METRICS),
    "geometry": st.sampled_from(["sensor", "sweep", "mesh?path=m.ply", "colmap"]),
    "targets": st.integers(1, 40).map("path:{}".format),
    "plugins": st.just([]),
    "store": st.just("none"),
    "ray_address": st.none(),
}


def right(model: type[Recipe | Execution], name: str) -> st.SearchStrategy[Any]:
    """Return values that the schema of a field allows, with both its ends."""
    if name in NAMED:
        return NAMED[name]
    field = model.model_json_schema()["properties"][name]
    whole, *none = field.get("anyOf", [field])
    if "enum" in whole or whole["type"] == "boolean":
        return st.sampled_from(whole.get("enum", [True, False]))
    least, most = whole.get("minimum", whole.get("exclusiveMinimum", 0)), whole.get("maximum", LARGEST)
    if whole["type"] == "integer":
        numbers: st.SearchStrategy[Any] = st.integers(least, most)
    else:
        numbers = st.floats(least, most, exclude_min="exclusiveMinimum" in whole)
    return st.one_of(numbers, st.integers(least, least + 9), *(st.none() for _ in none))


@st.composite
def fields(draw: st.DrawFn, model: type[Recipe | Execution], base: dict[str, Any]) -> dict[str, Any]:
    """Draw the fields of a file: up to four are others than the base's, one in eight of them with a wrong value."""
    names = draw(st.lists(st.sampled_from([*model.model_fields]), max_size=4, unique=True))
    wrong = {name for name in names if draw(IS_WRONG)}
    values = {name: draw(st.sampled_from(VALUES) if name in wrong else right(model, name)) for name in names}
    return {**base, **values}


def prepare(folder: Path) -> Cases:
    """Write both files anew for each case, and say what a run would do with them."""

    @contextmanager
    def case(data: st.DataObject) -> Iterator[Callable[[], str]]:
        for name, (model, base) in FILES.items():
            # JSON is YAML; a lone surrogate has no bytes in UTF-8.
            content = json.dumps(data.draw(fields(model, base)))
            (folder / name).write_text(content)
        if data.draw(IS_EDITED):
            for share, *how in data.draw(EDITS):
                path = folder / [*FILES][int(share * len(FILES))]
                path.write_bytes(edited(path, *how))
        yield lambda: planned(folder)

    return case


def planned(folder: Path) -> str:
    """Say what a run would do, as the command line does."""
    files = ("--recipe", folder / "recipe.yaml", "--execution", folder / "execution.yaml", "--store", folder / "none")
    done = CliRunner().invoke(cli.app, ["run", *map(str, files), "--dry-run"])
    if isinstance(done.exception, Lift3dError):
        return refused(done.exception)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert len(done.output) <= 2 * LONGEST
    return "planned" if done.exit_code == 0 else "refused"
