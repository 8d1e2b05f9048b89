"""A training with operators, a capture and another checkpoint's stage I: repeats, resumes, says what it was given."""

import shlex
import sys

import pytest
import torch
from safetensors.torch import load_file

from lift3d.cli import train as train_command
from lift3d.errors import ConfigError
from lift3d.lifters.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, untrained
from lift3d.training.train import CORRECTOR, DENSITY, read_history, train
from tests.support.captures import capture, write_transforms
from tests.training.tiny_training import CHECKER, Heard, exit_code, same_weights, tiny, with_scenes_of

# Whole trainings.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What a training may be given: an operator, a capture, and a checkpoint whose stage I is not the untrained one."""
    folder = tmp_path_factory.mktemp("given")
    write_transforms(folder / "my-garden", capture(5))
    start = untrained()
    with torch.no_grad():
        for number, one in enumerate(start.density.parameters()):
            one += 0.01 * torch.randn(one.shape, generator=torch.Generator().manual_seed(number))
    save_checkpoint(folder / "first.safetensors", Checkpoint(start.density, start.corrector, {}))
    return {
        **CHECKER,
        "captures": (str(folder / "my-garden"),),
        "density_from": str(folder / "first.safetensors"),
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory, given):
    folder = tmp_path_factory.mktemp("trained")
    settings = tiny(folder, **given)
    train(settings)
    return folder, settings


def test_stage_one_is_taken_to_the_bit_and_stage_two_is_trained(trained, given):
    ours, first = load_file(trained[1].out), load_file(given["density_from"])
    density = [name for name in first if name.startswith(DENSITY)]
    assert all(torch.equal(ours[name], first[name]) for name in density)
    assert not all(torch.equal(ours[name], first[name]) for name in first)
    assert set(read_history(trained[1].folder)) == {CORRECTOR}


def test_killed_and_resumed_equals_uninterrupted_with_what_was_given(trained, given, tmp_path):
    again = with_scenes_of(trained[0], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(again, **given), Heard(stop_at=(CORRECTOR, 2)).listener)
    # Prepared in a process of its own this time: operators are built there by name.
    out = train(tiny(again, **given, workers=1))
    assert same_weights(out, trained[1].out)
    assert read_history(tiny(again).folder) == read_history(trained[1].folder)


def test_the_card_names_what_was_given_and_no_folder_of_this_machine(trained, given):
    _, settings = trained
    card = settings.out.with_suffix(".md").read_text()
    about = load_checkpoint(str(settings.out)).about
    for words in (
        settings.command,
        *CHECKER["operators"],
        "my-garden (5 views)",
        "50% of the examples",
        "| 0 | taken as it is from",
    ):
        assert words in card
    assert "No captured scene" not in card
    assert "o trained network" not in card
    for text in (card, str(about)):
        assert str(settings.out.parent) not in text
        assert given["captures"][0] not in text
    assert about["settings"] == settings.identity


def test_another_operator_share_or_capture_is_another_training(trained, given, tmp_path):
    # A capture of the same name, and other content.
    write_transforms(tmp_path / "my-garden", capture(6))
    for changes, said in [
        ({"operator_share": 0.5}, r"operator_share 0\.7 \(asked for: 0\.5\)"),
        ({"operators": ("hog",)}, r"operators \['checker.*asked for: \['hog'\]"),
        ({"capture_share": 0.9}, "capture_share"),
        ({"captures": (str(tmp_path / "my-garden"),)}, "captures_content"),
    ]:
        with pytest.raises(ConfigError, match=said):
            train(tiny(trained[0], **{**given, **changes}))
    # Settings without what is given are those of before.
    plain = tiny(tmp_path)
    names = {"operators", "plugins", "operator_share", "captures", "capture_share", "density_from"}
    assert not names & set(plain.identity)
    assert tiny(tmp_path, operator_share=0.2).identity == plain.identity


def test_the_command_of_the_card_and_absolute_paths_mean_the_same_training(trained, monkeypatch):
    settings, asked = trained[1], []
    monkeypatch.setattr(train_command, "train_and_present", lambda what, drive: asked.append(what))
    monkeypatch.setattr(sys, "argv", shlex.split(settings.command))
    assert exit_code() == 0
    assert [one.identity for one in asked] == [settings.identity]
    here = settings.model_copy(update={"captures": ("my-garden",), "plugins": ("edges.py:Edges",)})
    assert here.anchored().identity == here.identity
    assert here.anchored().plugins[0].startswith("/")
