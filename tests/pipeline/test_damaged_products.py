"""Runs in a store that was damaged, and on images that changed: nothing wrong is passed on, and the end is the same."""

import pytest

from lift3d.errors import DamagedProductError
from lift3d.runs.check_store import check_store
from lift3d.runs.records import rows_path
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import open_product
from tests.support.captures import capture, write_transforms
from tests.support.damage import delete, empty, flip
from tests.support.runs import ROOM, canonical_arrays, canonical_table, run_into, small_recipe
from tests.support.store_workers import audited

SMALL = {"operators": ["rgb"], "lifters": ["plane_sweep"], "metrics": ["psnr"]}


def key_of(store: Store, kind: str) -> tuple[str, str]:
    """Return a product of a kind and one of its chunks."""
    product = next(product for product in audited(store) if product.path.split("/")[2] == kind)
    keys = [key for key in store.list(product.path) if "/features_0/c/" in key]
    return product.path, keys[-1]


DAMAGES = [
    pytest.param(flip, marks=pytest.mark.fault(8, "a bit of a stored object is flipped between two runs")),
    pytest.param(empty, marks=pytest.mark.fault(9, "a stored object is emptied between two runs")),
    pytest.param(delete, marks=pytest.mark.fault(9, "a stored object is deleted between two runs")),
]


@pytest.fixture(autouse=True, scope="module")
def parts_of_two():
    """Products of several parts: only what is damaged is made again."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("lift", "products", "features"):
            patch.setattr(f"lift3d.pipeline.{module}.VIEWS_PER_PART", 2)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Table and arrays of a run that nothing happened to."""
    url = str(tmp_path_factory.mktemp("undisturbed") / "store")
    recipe = small_recipe(**SMALL)
    records = run_into(url, recipe)
    return canonical_table(url, recipe), canonical_arrays(url, records)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("kind", "most"), [("features", 2), ("lifted", 1)])
def test_a_run_computes_what_it_finds_damaged_again(tmp_path, undisturbed, kind, most, damage):
    """Of a product of three parts the damaged one is made again, from what is not in memory yet."""
    url, recipe = str(tmp_path / "store"), small_recipe(**SMALL)
    store = open_store(url, create=True)
    records = run_into(url, recipe)
    # What is missing makes the run read what is damaged.
    store.delete_prefix(f"runs/{recipe.run_id}")
    for path in records[0].paths if kind == "features" else ():
        store.delete_prefix(path)
    path, key = key_of(store, kind)
    damage(store, key)
    again = run_into(url, recipe)
    assert again[0].outcome == "ok", again[0].reason
    assert 1 <= again[0].computed[kind] <= most
    assert (canonical_table(url, recipe), canonical_arrays(url, again)) == undisturbed
    assert check_store(url, checksums=True).is_clean


@pytest.mark.fault(8, "the scores of a finished scene are damaged before the run is started again")
def test_damaged_scores_of_a_finished_scene_are_made_again(tmp_path, undisturbed):
    url, recipe = str(tmp_path / "store"), small_recipe(**SMALL)
    run_into(url, recipe)
    flip(open_store(url), rows_path(recipe.run_id, ROOM))
    assert run_into(url, recipe)[0].computed == {"scores": 1}
    assert canonical_table(url, recipe) == undisturbed[0]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_no_run_reads_is_found_by_the_audit_and_made_by_the_next_run(tmp_path, undisturbed, damage):
    url, recipe = str(tmp_path / "store"), small_recipe(**SMALL)
    records = run_into(url, recipe)
    store = open_store(url)
    path, key = key_of(store, "lifted")
    damage(store, key)
    with pytest.raises(DamagedProductError):
        [open_product(store, path).array(name) for name in open_product(store, path).names]
    assert check_store(url, checksums=False).is_clean == (damage is flip)
    found = check_store(url, checksums=True, repair=True)
    assert [*found.damage] == found.repaired == [path]
    assert key in found.damage[path][0]
    assert [*check_store(url, checksums=True).gone.values()] == [[path]]
    assert run_into(url, recipe)[0].computed == {"lifted": 1, "scores": 1}
    assert check_store(url, checksums=True).is_clean
    assert (canonical_table(url, recipe), canonical_arrays(url, records)) == undisturbed


def test_what_is_damaged_again_and_again_is_a_failed_scene_and_the_others_go_on(tmp_path, monkeypatch):
    """A disk that lets nothing come back as it was written."""

    def rotting(write):
        return lambda self, key, content: write(
            self, key, content[:-1] if "/lifted/" in key and "/c/" in key else content
        )

    for name in ("write_bytes", "create_bytes"):
        monkeypatch.setattr(Store, name, rotting(getattr(Store, name)))
    records = run_into(
        str(tmp_path / "store"), small_recipe(scenes=[ROOM, ROOM.replace("views=6", "views=1")], **SMALL)
    )
    assert [one.outcome for one in records] == ["failed", "failed"]
    assert records[0].reason.startswith("damaged: ")
    assert records[1].reason.startswith("scene: ")


@pytest.mark.fault(
    34, "an image file of a scene folder is overwritten after the run; the record says the same location"
)
def test_images_that_changed_are_not_answered_from_the_store(tmp_path):
    folder = tmp_path / "scene"
    write_transforms(folder, capture(5))
    recipe, url = small_recipe(scenes=[str(folder)], sources=2, **SMALL), str(tmp_path / "store")
    (first,) = run_into(url, recipe)
    assert first.outcome == "ok", first.reason
    image = folder / "images/000.png"
    kept = image.read_bytes()
    image.write_bytes((folder / "images/001.png").read_bytes())
    (second,) = run_into(url, recipe)
    assert second.inputs != first.inputs
    assert second.computed["features"] == 1
    assert not set(second.paths) & set(first.paths)
    fresh = run_into(str(tmp_path / "fresh"), recipe)
    assert canonical_arrays(url, [second]) == canonical_arrays(str(tmp_path / "fresh"), fresh)
    image.write_bytes(kept)
    (third,) = run_into(url, recipe)
    assert third.paths == first.paths
    assert third.computed == {"scores": 1}
