"""The flow tune-encoder: two processes on Ray prepare and tune together, and the weights are those of an encoder."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from flows.tune_encoder import tune_encoder
from lift3d.operators.catalog import build_operator
from lift3d.training.train import read_history
from lift3d.training.tuning.settings import TuningSettings
from tests.support.isolation import embedded_ray
from tests.support.prefect_server import prefect_harness

VIT = "timm:test_vit?weights=random"
SCENES = tuple(f"procedural:tabletop?seed={seed}&views=5&height=64&width=80" for seed in (3, 4))


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
# Ray's own, of its data library, which it sets up for every trainer.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data")
def test_two_processes_tune_through_prefect(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    settings = TuningSettings(
        operator=VIT,
        scenes=SCENES,
        out=folder / "tuned.safetensors",
        folder=folder / "run",
        image_height=64,
        steps=2,
        batch=1,
        holdout=4,
        processes=2,
    )
    home = tmp_path_factory.mktemp("home")
    with embedded_ray(home), prefect_harness(home):
        state = tune_encoder(settings, return_state=True)
    assert state.is_completed(), state.message
    summary, history = state.result(), read_history(settings.folder)
    assert all(Path(summary[name]).is_file() for name in ("checkpoint", "card"))
    assert {stage: entries[-1] for stage, entries in history.items()} == summary["figures"]
    assert [entry["step"] for entry in history["tuned"]] == [0, 2]
    assert load_file(settings.out).keys() == build_operator(VIT).network.state_dict().keys()
