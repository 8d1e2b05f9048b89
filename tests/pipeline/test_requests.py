"""What a scene asks of an object store: counted on a few views, as a function of the parts that these have."""

import uuid
from collections import Counter
from collections.abc import Callable

import pytest

from lift3d.bench.scene_costs import CountingStore
from lift3d.pipeline.models import Models
from lift3d.pipeline.products import VIEWS_PER_PART
from lift3d.runs.driver import attempt_scene
from lift3d.runs.records import begin_run
from lift3d.storage.location import open_store
from tests.support.fault_proxy import FaultProxy
from tests.support.runs import small_recipe

# One operator, every view a target and a source.
WHOLE = {
    "operators": ["rgb"],
    "lifters": ["anchored"],
    "target_mode": "refine",
    "metrics": ["psnr"],
    "image_height": 24,
}
VIEWS, MOST, MOST_PER_VIEW = 200, 104, 0.5


def counted(url: str, view_count: int, begin: Callable[[], None] = lambda: None) -> CountingStore:
    """Run a scene and return the store with what was asked of it on behalf of the scene."""
    recipe = small_recipe(scenes=[f"procedural:room?views={view_count}&height=24&width=32"], **WHOLE)
    open_store(url, create=True)
    store = CountingStore(url)
    begin_run(recipe, store)
    models = Models.of(recipe)
    store.requests.clear()
    store.written.clear()
    begin()
    assert attempt_scene(recipe.scenes[0], recipe, models, store).is_ok
    return store


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch):
    for module in ("lift", "products", "features"):
        monkeypatch.setattr(f"lift3d.pipeline.{module}.VIEWS_PER_PART", 2)


@pytest.mark.fault(39, "requests of scenes of two and of three parts are counted, and what a part adds")
def test_a_scene_of_200_views_needs_half_a_request_of_each_kind_per_view_at_most(tmp_path):
    # The last part is shorter than the others, as that of 200 views is.
    few, many = (counted(str(tmp_path / str(count)), count).requests for count in (3, 5))
    parts = -(-VIEWS // VIEWS_PER_PART)
    for kind in ("put", "get"):
        needed = few[kind] + (parts - 2) * (many[kind] - few[kind])
        assert needed <= MOST
        assert needed <= MOST_PER_VIEW * VIEWS


def test_one_worker_leaves_one_record_of_a_scene_and_none_of_its_parts(tmp_path):
    written = counted(str(tmp_path), 5).written
    assert len(set(written)) == len(written), "nothing is written twice"
    assert not [key for key in written if "/parts/" in key]
    assert len([key for key in written if key.startswith("runs/") and key.endswith(".json")]) == 1


def test_what_is_counted_is_what_a_service_is_asked_for(moto_server, moto_bucket, monkeypatch):
    proxy = FaultProxy(moto_server.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    store = counted(f"s3://{moto_bucket}/{uuid.uuid4().hex}", 3, proxy.seen.clear)
    proxy.close()
    asked = Counter("put" if one.is_list or one.method == "PUT" else "get" for one in proxy.seen)
    assert asked == store.requests
