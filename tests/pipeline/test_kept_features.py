"""Features that are not kept: the same lifted views and figures, each view encoded once, and nothing stored of it."""

import pytest

from flows.scene_workers import prepare_scenes
from lift3d.config import Execution
from lift3d.pipeline import inputs
from lift3d.pipeline.inputs import quiet
from lift3d.runs.driver import run_serially
from lift3d.runs.records import begin_run
from lift3d.storage.layout import features_folder
from lift3d.storage.location import open_store
from tests.support.runs import canonical_arrays, canonical_table, small_recipe
from tests.support.store_workers import audited

# One operator fits something on all views, and two answers of each view are asked for.
RECIPE = small_recipe(operators=["rgb", "felzenszwalb?as=ids"], lifters=["plane_sweep", "anchored"], metrics=["psnr"])
VIEWS = 6


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("kept"))
    records = run_serially(RECIPE, Execution(store=url))
    assert len(features_in(url)) == 2
    return canonical_arrays(url, records), canonical_table(url, RECIPE)


def features_in(url):
    return [one.path for one in audited(open_store(url)) if one.path.split("/")[2] == "features"]


def test_each_view_is_encoded_once_and_not_stored(kept, tmp_path):
    url = str(tmp_path)
    records = run_serially(RECIPE, Execution(store=url, keep_features=False))
    assert (canonical_arrays(url, records), canonical_table(url, RECIPE)) == kept
    assert records[0].computed["features"] == 2 * VIEWS
    assert features_in(url) == []


def test_what_does_not_fit_into_memory_is_stored(kept, tmp_path, monkeypatch):
    # There is room for those of one operator.
    monkeypatch.setattr(inputs, "CACHE_BYTES", VIEWS * 48 * 64 * 3 * 4)
    url = str(tmp_path)
    records = run_serially(RECIPE, Execution(store=url, keep_features=False))
    assert (canonical_arrays(url, records), canonical_table(url, RECIPE)) == kept
    (path,) = features_in(url)
    assert path.startswith(features_folder(records[0].scene, RECIPE.operators[1]))


@pytest.mark.parametrize(("keep", "count"), [(None, 0), (False, 0), (True, 2)])
def test_a_worker_of_a_flow_keeps_them_if_it_is_asked_to(tmp_path, keep, count):
    store = open_store(str(tmp_path), create=True)
    begin_run(RECIPE, store)
    attempt = prepare_scenes(RECIPE, Execution(store=store.url, keep_features=keep), store)
    assert attempt(RECIPE.scenes[0], quiet).is_ok
    assert len(features_in(store.url)) == count
