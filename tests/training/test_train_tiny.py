"""The command that retrains the small models."""

import sys

import pytest

from lift3d.cli import app as cli


def _ended(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["lift3d", "train-tiny", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capsys.readouterr().err


def test_a_name_that_is_none_is_refused(monkeypatch, capsys):
    code, said = _ended(monkeypatch, capsys, "colouriser")
    assert code == cli.Exit.USAGE
    assert "Did you mean 'colorizer'" in said


def test_where_the_trainings_are_left_out_the_command_says_where_they_are(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lift3d.training.tiny.catalog", None)
    code, said = _ended(monkeypatch, capsys, "depth")
    assert code == cli.Exit.USAGE
    assert "pip install -e ." in said
