"""Names of lifters; checkpoints come back as they were written, and a wrong file says what is wrong with it."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.lifters.catalog import LIFTERS, build_lifter, lifter_spec
from lift3d.lifters.checkpoint import FORMAT_VERSION, load_checkpoint, save_checkpoint, untrained
from lift3d.lifters.checkpoint_files import DEFAULT, checkpoint_digest, checkpoint_path, packaged


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, untrained())
    return path


GOOD = {"format": "lift3d-lifter", "version": str(FORMAT_VERSION), "about": "{}"}


def test_a_round_trip_keeps_every_weight(tmp_path):
    networks = untrained()
    with torch.no_grad():
        networks.density.logit.weight.normal_()
    networks.about["steps"] = 3
    save_checkpoint(tmp_path / "a.safetensors", networks)
    read = load_checkpoint(str(tmp_path / "a.safetensors"))
    assert read.about == {"steps": 3}
    for part in ("density", "corrector"):
        for key, value in getattr(networks, part).state_dict().items():
            torch.testing.assert_close(getattr(read, part).state_dict()[key], value, rtol=0, atol=0)


def test_packaged_checkpoints_load_and_are_small():
    assert DEFAULT in packaged()
    for name in packaged():
        load_checkpoint(name)
        assert checkpoint_path(name).stat().st_size <= 5 * 2**20
        card, about = checkpoint_path(name).with_suffix(".md"), load_checkpoint(name).about
        assert card.is_file(), "a checkpoint ships with its card"
        assert about["command"] in card.read_text(encoding="utf-8")
        # What it was made of is packaged, too, if it is not made by that command from the start.
        assert about["settings"].get("density_from", name) in packaged()


@pytest.mark.parametrize(
    ("change", "metadata", "said"),
    [
        (lambda tensors: None, {**GOOD, "version": "0"}, "version '0'; expected"),
        (lambda tensors: None, {}, "format None"),
        (lambda tensors: tensors.pop("density.logit.weight"), GOOD, r"logit\.weight differ"),
        (lambda tensors: tensors["density.logit.bias"].fill_(torch.nan), GOOD, "NaN"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(written, change, metadata, said):
    tensors = load_file(written)
    change(tensors)
    changed = written.with_name("changed.safetensors")
    save_file(tensors, changed, metadata)
    with pytest.raises(ConfigError, match=said):
        load_checkpoint(str(changed))
    changed.write_bytes(written.read_bytes()[: written.stat().st_size // 2])
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        load_checkpoint(str(changed))


@pytest.mark.parametrize("ask", [lifter_spec, build_lifter])
@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        (f"lift4d?checkpoint={DEFAULT}", UnknownNameError, "lift3d"),
        ("plane_sweeep", UnknownNameError, "plane_sweep"),
        ("lift3d?checkpoint=no-such", ConfigError, DEFAULT),
        *((f"lift3d?{option}", ConfigError, "checkpoint") for option in ("weights=x", "checkpoint=")),
        (f"plane_sweep?checkpoint={DEFAULT}", ConfigError, "takes no options"),
    ],
)
def test_a_lifter_checkpoint_or_option_that_is_none_says_what_there_is(ask, name, error, said):
    with pytest.raises(error, match=said):
        ask(name)


def test_what_a_lifter_depends_on_is_the_content_of_its_checkpoint(written, tmp_path):
    same = tmp_path / "same.safetensors"
    shutil.copy(written, same)
    a, b = (lifter_spec(f"lift3d?checkpoint={path}") for path in (written, same))
    assert a.weights_digest == b.weights_digest == checkpoint_digest(str(written))
    assert a.weights_digest != lifter_spec("lift3d").weights_digest


@pytest.mark.parametrize(("name", "instead"), [("depth_mean", "anchored"), ("separate_weights", "lift3d")])
def test_a_lifter_that_is_no_more_says_what_to_use_instead(monkeypatch, name, instead):
    monkeypatch.delitem(LIFTERS, name, raising=False)
    with pytest.raises(UnknownNameError, match=f"'{name}' is no longer part of lift3d; use '{instead}'"):
        lifter_spec(name)
