"""The command that retrains the small models."""

import sys

import pytest
import torch
from safetensors.torch import load_file

from lift3d.cli import app as cli
from lift3d.training.tiny import train
from tests.training.tiny_training import exit_code, same_weights


def _ended(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["lift3d", "train-tiny", *words])
    return exit_code(), capsys.readouterr().err


def test_a_name_that_is_none_and_trainings_that_are_left_out_are_said(monkeypatch, capsys):
    code, said = _ended(monkeypatch, capsys, "colouriser")
    assert code == cli.Exit.USAGE
    assert "Did you mean 'colorizer'" in said
    monkeypatch.setitem(sys.modules, "lift3d.training.tiny.train", None)
    code, said = _ended(monkeypatch, capsys, "depth")
    assert code == cli.Exit.USAGE
    assert "pip install -e ." in said


def describe_line(seed):
    torch.manual_seed(seed)
    line, begun = torch.nn.Linear(1, 1), []
    torch.nn.init.zeros_(line.bias)
    at = torch.linspace(-1, 1, 9)[:, None]

    def loss_of(step):
        return (line(at) - 0.25).square().mean()

    return train.TinyTraining(
        line,
        [train.Phase([line], loss_of, 0.4), train.Phase([line], loss_of, 0.6, lambda: begun.append(True))],
        steps=1200,
        measure=lambda: {"begun": (float(len(begun)), "nothing: 0"), "offset": (line.bias.item(), "zero: 0")},
        what="A line.",
        data="Nine points.",
        limits=("It is straight.",),
    )


def test_a_training_writes_half_precision_and_a_card_and_repeats_itself(monkeypatch, tmp_path):
    monkeypatch.setitem(train.TRAININGS, "line", f"{__name__}:describe_line")
    for name in ("one", "other"):
        train.train_tiny("line", tmp_path / name / "line.safetensors", seed=3)
    assert same_weights(*(tmp_path / name / "line.safetensors" for name in ("one", "other")))
    one = load_file(tmp_path / "one" / "line.safetensors")
    assert {value.dtype for value in one.values()} == {torch.float16}
    assert one["bias"].item() == pytest.approx(0.25, abs=1e-2)
    card = (tmp_path / "one" / "line.md").read_text()
    figures = ("| begun | **1.000** | nothing: 0 |", f"| offset | **{one['bias'].item():.3f}** |")
    for words in ("# tiny:line", "1,200 steps", "Seed 3", "lift3d train-tiny line", *figures):
        assert words in card


def test_every_training_describes_itself_where_its_name_says():
    for place in train.TRAININGS.values():
        module, attribute = place.split(":")
        assert callable(getattr(__import__(module, fromlist=[attribute]), attribute))
