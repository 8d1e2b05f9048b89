"""The bench of GPUs, on the host: all figures are there, walks are timed whole, what is counted is counted right."""

import pytest
import torch

from lift3d.bench import gpu, profile
from lift3d.bench.gpu_page import page
from lift3d.errors import ConfigError


def here(count, work, *given):
    return [work(*given)] * count


def test_figures_are_complete_and_the_page_has_them(monkeypatch):
    monkeypatch.setattr(gpu, "_HOST_SIDE", 64)
    monkeypatch.setattr(gpu, "_HOST_COPIED", 2**12)
    monkeypatch.setattr(gpu, "_REPEATS", 1)
    recipe = gpu.recipe_of("procedural:room?views=3&height=24&width=32", ("rgb", "tiny:encoder"), 24)
    figures = gpu.measure(recipe, "cpu", here)
    assert [(one.device, one.workers, one.views) for one in figures.walks] == [("cpu", 1, 3), ("cpu", 2, 3)]
    for one in figures.walks:
        assert {"decode", "encode", "surface", "lift", "score"} <= one.stages.keys()
        assert sum(one.stages.values()) == pytest.approx(one.seconds, rel=0.1)
    assert min(figures.operations, figures.touched_bytes, figures.encoder_views_per_second) > 0
    text = page(figures, recipe, "cpu")
    assert "| 2 × cpu |" in text
    assert "--operator tiny:encoder --image-height 24 --device cpu" in text


def test_a_profile_tells_each_stage_of_a_walk_and_all_that_is_counted(monkeypatch):
    monkeypatch.setattr(gpu, "_HOST_SIDE", 64)
    monkeypatch.setattr(gpu, "_HOST_COPIED", 2**12)
    recipe = gpu.recipe_of("procedural:room?views=3&height=24&width=32", ("rgb", "tiny:encoder"), 24)
    found = profile.measure(recipe, here)
    counted = gpu._counts(recipe, "cpu")
    assert sum(one.seconds for one in found.stages) == pytest.approx(found.seconds, rel=0.1)
    assert sum(one.operations for one in found.stages) == counted[0]
    assert sum(one.touched_bytes for one in found.stages) == pytest.approx(counted[1], rel=0.01)
    by_stage = {one.stage: one for one in found.stages}
    assert by_stage["encode"].operations > by_stage["surface"].operations
    assert "| lift " in profile.table(found)


def test_bytes_are_those_that_are_read_and_written():
    a, b = torch.rand(4, 8), torch.rand(8, 2)
    with gpu.Touched() as touched:
        (a @ b).T.exp()
    assert touched.byte_count == 4 * (4 * 8 + 8 * 2 + 4 * 2) + 4 * (4 * 2 + 4 * 2)


def test_a_gpu_that_is_not_there_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="'cuda' was asked for"):
        gpu.measure(gpu.recipe_of(), "cuda", here)
