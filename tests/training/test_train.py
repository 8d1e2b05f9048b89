"""A training from end to end at the smallest size: what it writes, that it repeats, and that it resumes."""

import functools
import json
import multiprocessing
import os
import signal
import sys

import pytest
import torch
import yaml

from lift3d.cli import app as cli
from lift3d.errors import ConfigError
from lift3d.lifters.catalog import build_lifter
from lift3d.lifters.weights import weights_at
from lift3d.training import train as train_module
from lift3d.training.batches import Examples
from lift3d.training.density_step import guides_of
from lift3d.training.examples import SceneCache
from lift3d.training.loop import Schedule, Team
from lift3d.training.settings import parse_settings
from lift3d.training.train import CORRECTOR, DENSITY, Listener, read_history, train
from tests.training.tiny_training import Heard, exit_code, same_weights, tiny, with_scenes_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    settings, heard = tiny(folder), Heard()
    assert train(settings, heard.listener) == settings.out
    return folder, settings, heard


def test_every_step_and_validation_is_told_and_untrained_networks_are_the_unit_of_errors(trained):
    _, settings, heard = trained
    assert list(heard) == [(stage, step, 3) for stage in (DENSITY, CORRECTOR) for step in (1, 2, 3)]
    steps = [(stage, figures["step"]) for stage, figures in heard.validations]
    assert steps == [(stage, step) for stage in (DENSITY, CORRECTOR) for step in (0, 3)]
    history = read_history(settings.folder)
    assert [(stage, one) for stage in (DENSITY, CORRECTOR) for one in history[stage]] == heard.validations
    first = {stage: figures for stage, figures in trained[2].validations if figures["step"] == 0}
    assert first[DENSITY]["validation_relative_error"] == pytest.approx(1.0, abs=1e-4)
    # The residual does something before it learns anything; new weights are the consensus of all views.
    assert first[CORRECTOR]["validation_separate_departure"] < 0.02 < first[CORRECTOR]["validation_residual_departure"]


def test_the_checkpoint_lifts_and_its_card_says_what_somebody_who_uses_it_asks(trained):
    _, settings, heard = trained
    lifter = build_lifter(f"lift3d?checkpoint={settings.out}")
    example = Examples(SceneCache(settings.folder / "scenes", settings.seed, settings.scenes), 0, (3, 3))(0)
    proposal = lifter.propose(example.target.camera, guides_of(example), example.depth_range)
    assert weights_at(proposal, proposal.grid).coverage.max() > 0.5
    card = settings.out.with_suffix(".md").read_text()
    figure = f"**{heard.validations[-1][1]['validation_residual_square']:.3f}**"
    for words in (settings.command, f"seed {settings.seed}", "Apache-2.0", "## Limits", figure):
        assert words in card


def test_the_same_seed_gives_the_same_weights_also_after_an_interruption(trained, tmp_path):
    folder, settings, _ = trained
    again = with_scenes_of(folder, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(again), Heard(stop_at=(CORRECTOR, 2)).listener)
    assert not tiny(again).out.exists()
    resumed = Heard()
    out = train(tiny(again), resumed.listener)
    assert DENSITY not in {stage for stage, *_ in resumed}
    assert same_weights(out, settings.out)
    assert read_history(tiny(again).folder) == read_history(settings.folder)


# Every second step is on the disk: it dies after one of three.
_EVERY_SECOND = functools.partial(Schedule, save_every=2)


def test_a_training_killed_amid_either_stage_ends_in_the_bits_of_an_undisturbed_one(trained, tmp_path, monkeypatch):
    folder, settings, _ = trained
    monkeypatch.setattr(train_module, "Schedule", _EVERY_SECOND)
    again = tiny(with_scenes_of(folder, tmp_path))
    for stage in (DENSITY, CORRECTOR):
        # Not forked: who has the threads of another test's autograd cannot train.
        process = multiprocessing.get_context("spawn").Process(target=_train_until_killed, args=(again, stage))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not again.out.exists()
    resumed = Heard()
    train(again, resumed.listener)
    # Nothing that was saved is trained again.
    assert list(resumed) == [(CORRECTOR, 3, 3)]
    assert same_weights(again.out, settings.out)
    assert read_history(again.folder) == read_history(settings.folder)


def _train_until_killed(settings, stage):
    torch.set_num_threads(1)  # As tests/conftest.py does: equal bits need equal thread counts.
    train_module.Schedule = _EVERY_SECOND

    def die(at, done, total):
        if (at, done) == (stage, 2):
            os.kill(os.getpid(), signal.SIGKILL)

    train(settings, Listener(on_step=die))


def test_another_training_in_the_same_folder_another_team_and_a_torn_history_are_refused(trained, tmp_path):
    for changes, said in [
        ({"density_rate": 0.1}, r"density_rate 0\.003 \(asked for: 0\.1\)"),
        ({"corrector_steps": 4}, "corrector_steps 3"),
        ({"seed": 1}, "Name an empty folder"),
    ]:
        with pytest.raises(ConfigError, match=said):
            train(tiny(trained[0], **changes))
    with pytest.raises(ConfigError, match="2 processes"):
        train(tiny(trained[0], processes=2), team=Team(0, 1))
    (tmp_path / "history.json").write_text("{")
    with pytest.raises(ConfigError, match="does not read as JSON"):
        read_history(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "out: is needed, and not given"),
        ({"out": "x.pt"}, r"out: .*\.safetensors"),
        ({"out": "x.safetensors", "step": 3}, "no 'step'; fields are out, folder"),
        ({"out": "x.safetensors", "seed": -1, "processes": 0}, "seed: .*; processes: "),
        ({"out": "x.safetensors", "operator_share": 0}, "operator_share"),
        ({"out": "x.safetensors", "operators": ["rgb", "rgb"]}, "twice"),
    ],
)
def test_wrong_settings_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings(fields)


def test_the_command_line_goes_on_with_a_finished_run_and_says_where_things_lie(trained, monkeypatch, capsys):
    folder, settings, _ = trained
    recipe = folder / "settings.yaml"
    fields = json.loads(settings.model_dump_json())
    recipe.write_text(yaml.safe_dump({**fields, "out": "other.safetensors"}))
    monkeypatch.setattr(sys, "argv", ["lift3d", "train", "--settings", str(recipe), "--out", str(settings.out)])
    assert exit_code() == 0
    places = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert places["checkpoint"] == str(settings.out)
    assert places["card"] == str(settings.out.with_suffix(".md"))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], cli.Exit.USAGE, "out: is needed, and not given"),
        (["--out", "x.safetensors", "--settings", "/nowhere.yaml"], cli.Exit.USAGE, "/nowhere.yaml"),
        (["--out", "x.safetensors"], cli.Exit.INTERRUPTED, "goes on from the last saved step"),
    ],
)
def test_wrong_requests_and_interrupts_are_one_line(monkeypatch, capsys, options, code, message):
    def interrupted(settings, listener):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "train", interrupted)
    monkeypatch.setattr(sys, "argv", ["lift3d", "train", *options])
    assert exit_code() == code
    assert message in capsys.readouterr().err
