"""The bench of speed: its frames are those of the scene, its figures complete, a process that fails is named."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from pydantic_core import to_jsonable_python

from lift3d.bench import speed
from lift3d.bench.commands import COMMANDS
from lift3d.bench.speed_memory import in_fresh_process
from lift3d.bench.speed_scene import SpeedScene
from lift3d.errors import ConfigError, UnknownNameError, WorkerLostError
from lift3d.lifters.catalog import build_lifter

SMALL = "procedural:room?seed=1&views=6&height=48&width=64"
TINY = speed.SpeedSize(
    guide_cells=16, source_count=3, channel_count=12, strides_px=(4.0, 14.0), memory_channel_count=8, repeats=1
)
ASKED = ("location", "lifter", "threads")


@pytest.mark.parametrize("location", [SMALL, "procedural:room?views=6&height=64&width=40"])
def test_frames_are_squares_of_the_views(location):
    scene = SpeedScene.read(location, 12, 4)
    assert len(scene.frames) == 4
    assert scene.target.id not in scene.frames
    for frame in scene.frames.values():
        assert (frame.camera.size.height, frame.camera.size.width) == (24, 24)
        assert frame.z_depth.shape == (24, 24)
    proposal = scene.propose(build_lifter("anchored"))
    assert proposal.grid.shape == (12, 12)
    # The cut frames still belong to their cameras: most of the target is seen by sources with the depth they claim.
    assert float((proposal.probability.sum(-1) > 0).float().mean()) > 0.8


@pytest.fixture(scope="module")
def figures():
    return speed.measure(TINY, SMALL, "lift3d", threads=1)


def test_figures_are_complete_and_agree(figures, monkeypatch):
    json.dumps(to_jsonable_python(figures), allow_nan=False)
    assert figures.guide_cells == (16, 16)
    assert [one.cells for one in figures.operators] == [64, 4]
    assert all(one.operator_seconds >= one.correct_seconds > 0 for one in figures.operators)
    memory = figures.memory
    assert memory.operator_cells == (16, 16)
    assert 0 < memory.started_bytes < memory.held_bytes <= memory.peak_bytes
    assert memory.predicted_bytes == pytest.approx(memory.peak_bytes, rel=0.35)
    assert memory.feature_bytes == 4 * 8 * 16 * 16 * (3 + 1)
    text = speed.table(figures)
    assert f"propose {figures.propose_seconds:.3f}" in text
    assert f"{memory.peak_bytes / 2**20:.0f} MiB" in text
    monkeypatch.setattr(speed, "measure", lambda size, *asked: replace(figures, **dict(zip(ASKED, asked, strict=True))))
    ran = CliRunner().invoke(COMMANDS["speed"], ["--lifter", "plane_sweep", "--threads", "1", "--json"])
    assert [json.loads(ran.stdout)[name] for name in ASKED] == [speed.SCENE, "plane_sweep", 1]


def test_a_wrong_request_is_refused_and_threads_are_restored():
    before = torch.get_num_threads()
    with pytest.raises(ConfigError, match="6 usable views; 8 sources"):
        speed.measure(speed.FULL, SMALL, "plane_sweep", threads=before + 1)
    assert torch.get_num_threads() == before
    with pytest.raises(UnknownNameError, match="plane_sweep"):
        speed.measure(TINY, SMALL, "plane_sweeep")
    with pytest.raises(ConfigError, match="thread"):
        speed.measure(TINY, SMALL, "plane_sweep", threads=0)


def test_a_process_that_fails_is_named(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(WorkerLostError, match="code 1"):
        in_fresh_process(SMALL, "plane_sweep", 8, 3, 4)
