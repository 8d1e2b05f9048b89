"""Damage of records, recipes, rows and products: made again by the next run, named by whoever only reads."""

import json
import random
import shutil

import pytest

from lift3d.errors import DamagedProductError
from lift3d.runs.records import list_runs, read_rows, read_run
from lift3d.storage.location import open_store
from tests.support.forged import command, product_of, small_store
from tests.support.runs import canonical_table, run_into, tiny_rooms

KIND = "5 damage that passes or bricks"
RECIPE = tiny_rooms(1)
# Every case mends a store by a run.
pytestmark = pytest.mark.slow
BROKEN = {
    "empty": b"",
    "list": b"[]",
    "half": b'{"scene": "room',
    "deep": b"[" * 100_000,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("made") / "store")


@pytest.fixture(scope="module")
def table(made):
    return canonical_table(str(made), RECIPE)


@pytest.fixture
def store(made, tmp_path):
    return shutil.copytree(made, tmp_path / "store")


def one(store, pattern):
    (found,) = store.glob(pattern)
    return found


def check_runs_again(store, table):
    """The next run ends well, and its table is that of a store that nothing happened to; so is that of one more run."""
    for _ in range(2):
        (record,) = run_into(str(store), RECIPE)
        assert record.is_ok, record.reason
        assert canonical_table(str(store), RECIPE) == table
    assert command("fsck", store, "--checksums")[0] == 0


@pytest.mark.outside(
    kind=KIND, case="a record of a scene that does not parse", right="none: the scene is looked at again"
)
@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_record_is_none(store, table, how):
    one(store, "runs/*/scenes/*.json").write_bytes(BROKEN[how])
    assert command("status", store)[0] == command("report", store, "--out", store.parent / "r.html")[0] == 0
    assert command("fsck", store)[0] == 1
    check_runs_again(store, table)


@pytest.mark.outside(
    kind=KIND, case="a record that says what it cannot know", right="none: the scene is looked at again"
)
@pytest.mark.parametrize(
    "lie",
    [
        {"location": "/elsewhere"},
        {"lifted": [{"operator": "rgb", "lifter": "raw2d", "digest": "", "parts": ["../../etc"], "reason": ""}]},
        {"lifted": [{"operator": "rgb", "lifter": "raw2d", "digest": "", "parts": ["runs"], "reason": ""}]},
        {
            "lifted": [
                {"operator": "rgb", "lifter": "raw2d", "digest": "", "parts": ["scenes/a/lifted/b/c"], "reason": ""}
            ]
        },
        {"outcome": "splendid"},
        {"view_count": "many"},
    ],
)
def test_a_record_that_lies_is_none(store, table, lie):
    path = one(store, "runs/*/scenes/*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **lie}))
    for words in ("status", "tables"):
        assert command(words, store)[0] == 0
    check_runs_again(store, table)


@pytest.mark.outside(
    kind=KIND, case="a recipe that does not parse or is another's", right="named; written again by a run"
)
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
    for words in (["status"], ["tables"]):
        code, said = command(*words, store)
        assert code == 0, said
        assert how == "gone" or f"{RECIPE.run_id}/recipe.json is not the recipe of that run" in said
    assert how == "gone" or command("tables", store, "--run", RECIPE.run_id)[0] == 1
    check_runs_again(store, table)
    assert list_runs(open_store(str(store))) == sorted({RECIPE.run_id, other.run_id})


@pytest.mark.outside(kind=KIND, case="a bit flipped in the file of score rows", right="found, and made again by a run")
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


@pytest.mark.outside(
    kind=KIND, case="record and scores, or record and product, damaged together", right="one run suffices"
)
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


@pytest.mark.outside(
    kind=KIND, case="a group file, a part's record or metadata that are no JSON of ours", right="made again"
)
@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("kind", ["features/", "lifted/rgb/plane_sweep"])
def test_a_damaged_group_file_is_made_again(store, table, kind, how):
    product = product_of(store, kind)
    (product / "zarr.json").write_bytes(BROKEN[how])
    (product / "parts").mkdir(exist_ok=True)
    (product / "parts/0000.json").write_bytes(BROKEN[how])
    one(store, "runs/*/scenes/*.json").unlink()
    check_runs_again(store, table)
