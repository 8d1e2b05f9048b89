"""Tuning an encoder on its lifted features: what is frozen stays, what is learned is loaded, and errors say why."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lift3d.domain.camera import ImageSize
from lift3d.errors import ConfigError, NonFiniteError, StoreLayoutError
from lift3d.operators import timm_models
from lift3d.operators.catalog import build_operator
from lift3d.operators.timm_tail import SplitEncoder
from lift3d.training.loop import Team
from lift3d.training.train import read_history
from lift3d.training.tuning import tune as tuning
from lift3d.training.tuning.settings import TuningSettings, parse_tuning
from lift3d.training.tuning.tune import TUNED, tune
from lift3d.training.tuning.views import TuningView, TuningViews
from tests.support.operators import image_of
from tests.training.tiny_training import Heard, same_weights

timm = timm_models.timm
VIT = "timm:test_vit?weights=random"
SCENE = "procedural:tabletop?seed=3&views=6&height=64&width=80"


def small(folder, **changes):
    given = {
        "operator": VIT,
        "scenes": (SCENE,),
        "out": folder / "tuned.safetensors",
        "folder": folder / "run",
        "image_height": 64,
        "steps": 40,
        "batch": 2,
        "rate": 1e-3,
        "holdout": 4,
    }
    return TuningSettings(**{**given, **changes})


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    tune(small(folder))
    return folder, small(folder)


def with_views_of(folder, other):
    """Return another folder with the same views prepared and nothing tuned."""
    for name in ("views", "store"):
        shutil.copytree(folder / "run" / name, other / "run" / name)
    return other


def test_all_but_the_last_block_and_the_norm_stay_as_they_were_to_the_bit(tuned):
    before, after = build_operator(VIT).network.state_dict(), load_file(tuned[1].out)
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert all(name.startswith(("blocks.5.", "norm.")) for name in changed)
    assert {"blocks.5.attn.qkv.weight", "blocks.5.mlp.fc2.weight", "norm.weight"} <= changed


def test_features_of_views_that_it_was_not_tuned_on_come_nearer_to_what_all_views_say(tuned):
    first, *_, last = read_history(tuned[1].folder)[TUNED]
    assert first["step"] == 0
    assert first["validation_stay"] == pytest.approx(0, abs=1e-4)
    for part in ("cosine", "relative_cosine", "contrast"):
        assert last[f"validation_{part}"] < first[f"validation_{part}"]


def test_what_is_written_loads_in_timm_and_as_an_operator_and_gives_the_tuned_features(tuned):
    path = tuned[1].out
    network = timm.create_model("test_vit", num_classes=0, checkpoint_path=str(path), dynamic_img_size=True).eval()
    operator, split = build_operator(f"timm:test_vit?weights={path}"), SplitEncoder.of(build_operator(VIT), 1)
    image = image_of(64, 80)
    (features,) = operator.encode(image)
    held = {name: one for name, one in load_file(path).items() if name.startswith(("blocks.5", "norm."))}
    tail = split.tail()
    tail.load_state_dict({name.replace("blocks.5", "blocks.0"): one for name, one in held.items()})
    with split.listening() as entered:
        (plain,) = split.operator.encode(image)
    with torch.no_grad():
        again = split.features(tail, entered[0][0], ImageSize(64, 80))
        config = timm.data.resolve_model_data_config(network)
        mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
        tokens = network.forward_features(((image - mean) / std)[None])[0, 1:]
    torch.testing.assert_close(features.values, again.values)
    torch.testing.assert_close(features.values.flatten(1).T, tokens)
    assert not torch.allclose(features.values, plain.values, atol=1e-3)


def test_stopped_and_resumed_equals_uninterrupted(tuned, tmp_path):
    again = with_views_of(tuned[0], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        tune(small(again), Heard(stop_at=(TUNED, 30)).listener)
    heard = Heard()
    out = tune(small(again), heard.listener)
    # From the last saved step on, and no view was lifted once more.
    assert next(done for stage, done, _ in heard if stage == TUNED) == 26
    assert {stage for stage, *_ in heard} == {TUNED}
    assert same_weights(out, tuned[1].out)
    assert read_history(small(again).folder) == read_history(tuned[1].folder)


def test_the_card_says_how_to_use_the_weights_and_how_they_were_made(tuned):
    card = tuned[1].out.with_suffix(".md").read_text()
    assert "--operator 'timm:test_vit?weights=tuned.safetensors'" in card
    assert tuned[1].command in card
    assert str(tuned[0]) not in card


def test_more_blocks_are_tuned_if_asked_and_every_view_comes_once_before_any_comes_again(tuned, tmp_path):
    split = SplitEncoder.of(build_operator(VIT), 6)
    assert split.first == 0
    with split.listening() as entered:
        (plain,) = split.operator.encode(image_of(64, 80))
    with torch.no_grad():
        again = split.features(split.tail(), entered[0][0], ImageSize(64, 80))
    torch.testing.assert_close(again.values, plain.values)
    paths = tuple(sorted((tuned[0] / "run" / "views").rglob("*.safetensors")))
    views = TuningViews(paths, seed=1, count=2)
    tokens = {tuple(one.tokens[0].tolist()) for step in range(len(paths) // 2) for one in views(step)}
    assert len(tokens) == len(paths)


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        ("hog?cell=8", "no network of timm"),
        ("timm:test_resnet?weights=random", "no plain vision transformer"),
        ("timm:test_vit?weights=random&layer=1", "has 2 blocks"),
    ],
)
def test_what_has_no_blocks_to_tune_is_refused(operator, said):
    with pytest.raises(ConfigError, match=said):
        SplitEncoder.of(build_operator(operator), 3)


def test_bad_input_is_refused_before_anything_is_lifted(tuned, tmp_path):
    wrong = tmp_path / "wrong.safetensors"
    save_file({"blocks.0.weight": torch.zeros(3)}, wrong)
    with pytest.raises(ConfigError, match="does not fit the network"):
        tune(small(tmp_path, operator=f"timm:test_vit?weights={wrong}"))
    with pytest.raises(ConfigError, match="a team of 2"):
        tune(small(tmp_path), team=Team(0, 2))
    with pytest.raises(ConfigError, match=r"a checkpoint is a \.safetensors file"):
        parse_tuning({"operator": VIT, "out": "weights.pth"})
    assert not (tmp_path / "run").exists()
    # The state of another tuning is left alone.
    with pytest.raises(ConfigError, match=r"rate 0\.001 \(asked for: 0\.5\)"):
        tune(small(tuned[0], rate=0.5))


def test_too_few_views_to_hold_any_out_are_said_so(tuned, tmp_path):
    again = with_views_of(tuned[0], tmp_path)
    with pytest.raises(ConfigError, match="0 to tell how it goes"):
        tune(small(again, holdout=20))


def test_a_loss_that_is_no_number_stops_before_weights_are_spoilt(tuned, tmp_path, monkeypatch):
    again = with_views_of(tuned[0], tmp_path)

    def spoilt(self, tail, views):
        total = sum(one.sum() for one in tail.parameters())
        return total * float("nan"), {"cosine": 0.0}

    monkeypatch.setattr(tuning.LiftedLoss, "__call__", spoilt)
    with pytest.raises(NonFiniteError, match="Lower the learning rate"):
        tune(small(again))
    assert not small(again).out.exists()
    monkeypatch.undo()
    assert same_weights(tune(small(again)), tuned[1].out)


def test_a_damaged_view_is_named(tmp_path):
    path = tmp_path / "000000.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(StoreLayoutError, match="is damaged"):
        TuningView.read(path)
