"""The flow through Prefect: what it takes, what it ends in, what it leaves behind."""

import pytest
from prefect import get_client
from prefect.exceptions import ParameterTypeError

from flows.lift_scenes import lift_scenes
from flows.local_run import run_flow
from flows.train_lifter import train_lifter
from flows.tune_encoder import tune_encoder
from lift3d.config import Execution, Recipe
from lift3d.errors import UnknownNameError
from lift3d.runs.records import read_run
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store
from lift3d.training.settings import TrainingSettings
from lift3d.training.tuning.settings import TuningSettings
from tests.support.prefect_server import prefect_harness
from tests.support.runs import tiny_rooms

pytestmark = pytest.mark.usefixtures("prefect_here")

RECIPE = tiny_rooms(2)
SCENES = RECIPE.scenes
UNUSABLE = "/captures/gone"


@pytest.fixture(scope="module")
def prefect_here(ray_here, tmp_path_factory):
    with prefect_harness(tmp_path_factory.mktemp("home")):
        yield


@pytest.mark.parametrize(
    ("flow", "model"),
    [
        (lift_scenes, Recipe),
        (lift_scenes, Execution),
        (train_lifter, TrainingSettings),
        (tune_encoder, TuningSettings),
    ],
)
def test_the_form_of_the_user_interface_is_made_of_the_models_with_a_description_for_each_field(flow, model):
    form = flow.parameters.definitions[model.__name__]
    assert list(form["properties"]) == list(model.model_fields)
    assert [name for name, field in form["properties"].items() if not field.get("description")] == []
    assert form["additionalProperties"] is False


def test_a_misspelt_field_is_named_with_those_that_there_are(tmp_path):
    with pytest.raises(ParameterTypeError, match="recipe: there is no 'image_hieght'; fields are scenes, operators"):
        lift_scenes({"scenes": SCENES, "image_hieght": 24}, {"store": str(tmp_path)})


def test_a_run_in_two_batches_with_an_unusable_scene_completes_and_says_so(tmp_path):
    store = str(tmp_path / "store")
    listed = tmp_path / "scenes.txt"
    listed.write_text("\n".join((*SCENES, UNUSABLE)))
    state = lift_scenes(
        # As a deployment gives them: plain data, and a list instead of many scenes.
        {"scenes": [str(listed)], "operators": ["rgb"], "lifters": ["plane_sweep"], "image_height": 24},
        {"store": store, "workers": 1, "batch_size": 2},
        return_state=True,
    )
    assert state.is_completed()
    assert state.message.startswith("2 of 3 scenes done")
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(state.state_details.flow_run_id).name == "rgb on scenes.txt"
    summary = state.result()
    assert summary["outcomes"] == {"failed": 1, "ok": 2}
    assert [scene["location"] for scene in summary["scenes"]] == [*SCENES, UNUSABLE]
    table = run_table(open_store(store), summary["run"]).frame
    assert (table["outcome"] == "ok").any()
    assert (table["outcome"] == "failed").sum() == 1


def test_from_this_process_every_scene_is_told_and_returned_even_if_none_is_usable(tmp_path):
    told = []
    recipe = Recipe(scenes=(UNUSABLE,), lifters=("plane_sweep",))
    execution = Execution(store=str(tmp_path / "store"), workers=1)
    records = run_flow(recipe, execution, told.append, lambda stage, done, total: None)
    assert told == records
    assert records[0].outcome == "failed"
    assert read_run(open_store(execution.store), recipe.run_id) == (recipe, records)


def test_what_concerns_all_scenes_comes_out_of_prefect_as_our_own_error(tmp_path):
    recipe = RECIPE.model_copy(update={"operators": ("rbg",)})
    with pytest.raises(UnknownNameError, match="Did you mean 'rgb'") as caught:
        run_flow(recipe, Execution(store=str(tmp_path / "store"), workers=1), print, print)
    assert type(caught.value) is UnknownNameError
