"""What operators fit on a scene is a product: fitted once, read by every shard and every later run, bit for bit."""

from collections import Counter

import pytest
import torch

from lift3d.domain.features import SceneState
from lift3d.domain.shard import Shard
from lift3d.errors import ContractError
from lift3d.operators.protocol import OperatorSpec
from lift3d.pipeline.fit import read_state, write_state
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.scene import run_scene, run_shard
from lift3d.scenes.catalog import read_scene
from lift3d.storage.commit import committed, remove_product
from lift3d.storage.location import open_store
from tests.support.runs import ROOM, canonical_arrays, run_into, small_recipe
from tests.support.store_workers import audited

SPEC = OperatorSpec("fitted", 1, "embedding")
SHARDS = [*(Shard("encode", at, 2) for at in (0, 1)), Shard("fit", 0, 1), *(Shard("lift", at, 2) for at in (0, 1))]


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch):
    for module in ("lift", "products", "features"):
        monkeypatch.setattr(f"lift3d.pipeline.{module}.VIEWS_PER_PART", 2)


def states_in(url):
    return [one.path for one in audited(open_store(url)) if one.path.split("/")[2] == "state"]


def test_a_state_is_read_as_it_was_fitted_bit_for_bit_and_an_unknown_type_is_the_operators_fault(tmp_path):
    not_a_number = torch.tensor([0x7FC01234, -(2**31)], dtype=torch.int32).view(torch.float32)
    arrays = {
        "pair:left/0001.png": torch.rand(2, dtype=torch.float64),
        "pair:ö 2": torch.rand(2, dtype=torch.float64),
        "turned": torch.rand(3, 4).T,
        "half": torch.rand(2).half(),
        "odd": not_a_number,
        "count": torch.tensor([7]),
        "alone": torch.tensor(-1),
        "flags": torch.tensor([True, False]),
        "none": torch.zeros(0, 3),
    }
    store = open_store(str(tmp_path), create=True)
    write_state(store, "scenes/s/state/o/d", SceneState(arrays), SPEC)
    found = read_state(store, "scenes/s/state/o/d").arrays
    assert found.keys() == arrays.keys()
    for name, one in arrays.items():
        assert (found[name].dtype, found[name].shape) == (one.dtype, one.shape)
        assert found[name].numpy().tobytes() == one.contiguous().numpy().tobytes()
    with pytest.raises(ContractError, match="'fitted' fits 'odd' as torch"):
        write_state(store, "scenes/s/state/o/e", SceneState({"odd": torch.zeros(2).bfloat16()}), SPEC)


def test_shards_of_a_scene_read_one_state_and_end_as_one_worker_does(tmp_path):
    recipe = small_recipe(operators=["rgb", "felzenszwalb?as=ids"], lifters=["plane_sweep"])
    models = Models.of(recipe)

    def inputs():
        return SceneInputs(read_scene(ROOM), open_store(str(tmp_path / "shared"), create=True), recipe.image_height)

    computed = []
    for shard in SHARDS:
        own = inputs()
        run_shard(own, recipe, models, shard)
        computed.append(own.computed)
    record, _ = run_scene(inputs(), recipe, models, quiet)
    assert [one["states"] for one in computed] == [0, 0, 1, 0, 0]
    assert sum(computed, Counter()) == {"features": 12, "states": 1, "lifted": 12}
    assert record.computed == {"scores": 2}
    serial = run_into(str(tmp_path / "serial"), recipe)
    assert canonical_arrays(str(tmp_path / "shared"), [record]) == canonical_arrays(str(tmp_path / "serial"), serial)
    assert len(states_in(str(tmp_path / "serial"))) == 1, "rgb fits nothing, and nothing is stored of it"


def test_a_resumed_run_fits_nothing_again_and_one_without_its_state_that_alone(tmp_path):
    url, recipe = str(tmp_path / "store"), small_recipe(operators=["felzenszwalb?as=ids"], lifters=["plane_sweep"])
    records = run_into(url, recipe)
    assert records[0].computed["states"] == 1
    store, (path,) = open_store(url), states_in(url)
    store.delete_prefix(f"runs/{recipe.run_id}")
    assert run_into(url, recipe)[0].computed == {"scores": 1}
    store.delete_prefix(f"runs/{recipe.run_id}")
    remove_product(store, path)
    assert run_into(url, recipe)[0].computed == {"states": 1, "scores": 1}
    assert committed(store, path) is not None
