"""Damage of records, recipes, rows and products: made again by the next run, named by whoever only reads."""

import json
import random
from functools import partial

import pytest

from lift3d.errors import DamagedProductError
from lift3d.runs.records import list_runs, read_rows, read_run
from lift3d.storage.location import open_store
from tests.support.forged import check_runs_again, command, product_of
from tests.support.runs import run_into, tiny_rooms

outside = partial(pytest.mark.outside, kind="5 damage that passes or bricks")
RECIPE = tiny_rooms(1)
# Every case mends a store by a run.
pytestmark = pytest.mark.slow
BROKEN = {"empty": b"", "list": b"[]", "half": b'{"scene": "room', "deep": b"[" * 100_000}


def one(store, pattern):
    (found,) = store.glob(pattern)
    return found


def lifted(part):
    return {"lifted": [{"operator": "rgb", "lifter": "raw2d", "digest": "", "parts": [part], "reason": ""}]}


@outside(case="a record of a scene that does not parse", right="none: the scene is looked at again")
@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_record_is_none(store, table, how):
    one(store, "runs/*/scenes/*.json").write_bytes(BROKEN[how])
    assert command("status", store)[0] == command("report", store, "--out", store.parent / "r.html")[0] == 0
    assert command("fsck", store)[0] == 1
    check_runs_again(store, table)


@outside(case="a record that says what it cannot know", right="none: the scene is looked at again")
@pytest.mark.parametrize(
    "lie",
    [
        *({"location": "/elsewhere"}, {"outcome": "splendid"}, {"view_count": "many"}),
        *(lifted(part) for part in ("../../etc", "runs", "scenes/a/lifted/b/c")),
    ],
)
def test_a_record_that_lies_is_none(store, table, lie):
    path = one(store, "runs/*/scenes/*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **lie}))
    for words in ("status", "tables"):
        assert command(words, store)[0] == 0
    check_runs_again(store, table)


@outside(case="a recipe that does not parse or is another's", right="named; written again by a run")
@pytest.mark.parametrize("how", [*BROKEN, "edited", "gone"])
def test_a_damaged_recipe_is_named_and_the_other_runs_are_shown(store, table, how):
    other = tiny_rooms(1, sources=1)
    run_into(str(store), other)
    path = store / "runs" / RECIPE.run_id / "recipe.json"
    if how == "gone":
        path.unlink()
    elif how == "edited":
        path.write_text(json.dumps({**json.loads(path.read_text()), "image_height": 64}))
    else:
        path.write_bytes(BROKEN[how])
    for words in ("status", "tables"):
        code, said = command(words, store)
        assert code == 0, said
        assert how == "gone" or f"{RECIPE.run_id}/recipe.json is not the recipe of that run" in said
    assert how == "gone" or command("tables", store, "--run", RECIPE.run_id)[0] == 1
    check_runs_again(store, table)
    assert list_runs(open_store(str(store))) == sorted({RECIPE.run_id, other.run_id})


@outside(case="a bit flipped in the file of score rows", right="found, and made again by a run")
@pytest.mark.parametrize("words", [["tables"], ["tables", "--format", "csv"], ["report"], ["compare"], ["fsck"]])
def test_no_flipped_bit_of_rows_is_shown(store, table, words):
    path, rnd = one(store, "runs/*/scores/*.parquet"), random.Random(0)
    whole = bytearray(path.read_bytes())
    opened = open_store(str(store))
    (record,) = read_run(opened, RECIPE.run_id)[1]
    for _ in range(300):
        place, bit = rnd.randrange(len(whole)), rnd.randrange(8)
        whole[place] ^= 1 << bit
        path.write_bytes(whole)
        with pytest.raises(DamagedProductError, match="is not what was written"):
            read_rows(opened, RECIPE.run_id, record)
        whole[place] ^= 1 << bit
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    runs = [RECIPE.run_id] * 2 if words == ["compare"] else []
    code, said = command(*words[:1], store, *runs, *words[1:], *(["--out", store / "r.html"] * (words == ["report"])))
    assert (code, "is not what was written" in said) == (1, True), said
    check_runs_again(store, table)


@outside(case="record and scores, or record and product, damaged together", right="one run suffices")
@pytest.mark.parametrize(
    "others",
    [["runs/*/scores/*.parquet"], ["scenes/*/lifted/*/*/*/zarr.json"], ["runs/*/recipe.json"], ["scenes/*/zarr.json"]],
)
@pytest.mark.parametrize("how", ["gone", "list"])
def test_what_is_damaged_together_is_made_again(store, table, others, how):
    for pattern in ["runs/*/scenes/*.json", *others]:
        for path in store.glob(pattern):
            path.unlink() if how == "gone" else path.write_bytes(BROKEN[how])
    check_runs_again(store, table)


@outside(case="a group file, a part's record or metadata that are no JSON of ours", right="made again")
@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("kind", ["features/", "lifted/rgb/plane_sweep"])
def test_a_damaged_group_file_is_made_again(store, table, kind, how):
    product = product_of(store, kind)
    (product / "zarr.json").write_bytes(BROKEN[how])
    (product / "parts").mkdir(exist_ok=True)
    (product / "parts/0000.json").write_bytes(BROKEN[how])
    one(store, "runs/*/scenes/*.json").unlink()
    check_runs_again(store, table)
