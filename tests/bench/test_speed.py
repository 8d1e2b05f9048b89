"""The bench of speed: its reference has the size it claims, its yardsticks are what they say, its figures complete."""

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lift3d.bench import speed
from lift3d.bench.ray_transformer import RayBatch, RayTransformer, RayTransformerSize
from lift3d.bench.speed_memory import in_fresh_process
from lift3d.bench.speed_page import table
from lift3d.bench.speed_scene import RandomOperator, SpeedScene, all_samples
from lift3d.cli import app as cli
from lift3d.domain.features import FeatureGrid
from lift3d.errors import ConfigError, UnknownNameError, WorkerLostError
from lift3d.geometry.projection import is_inside
from lift3d.lifters.blend import blend
from lift3d.lifters.catalog import build_lifter

SMALL = "procedural:room?seed=1&views=6&height=48&width=64"
TINY = speed.SpeedSize(
    guide_cells=16,
    source_count=3,
    dense_source_count=4,
    reference=RayTransformerSize(sample_count=8, width=16, block_count=2, head_count=2),
    ray_count=4,
    chunks=(2, 4),
    channel_count=12,
    strides_px=(4.0, 14.0),
    memory_channel_count=8,
    repeats=1,
)


@pytest.mark.parametrize(
    "size",
    [
        RayTransformerSize(),
        RayTransformerSize(source_count=8),
        RayTransformerSize(source_count=3, sample_count=17, width=24, block_count=3, head_count=2),
    ],
)
def test_the_count_is_that_of_the_network(size):
    network, rays = RayTransformer(size).eval(), RayBatch.random(2, size)
    # Only this kernel of attention is known to the counter.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(rays)
    assert counter.get_total_flops() / 2 / 2 == pytest.approx(size.multiply_adds, rel=0.02)


def test_the_reference_has_the_published_size():
    assert RayTransformerSize().multiply_adds == pytest.approx(108.5e6, rel=0.03)


def test_the_reference_renders_each_ray_alone():
    size = RayTransformerSize(source_count=3, sample_count=5, width=16, block_count=2, head_count=2)
    network, rays = RayTransformer(size).eval(), RayBatch.random(4, size)
    with torch.inference_mode():
        together = network(rays)
        apart = torch.cat([network(rays.chunk(start, 1)) for start in range(4)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    assert len(together.unique(dim=0)) == 4


def test_the_reference_reads_no_source_that_does_not_see():
    size = RayTransformerSize(source_count=3, sample_count=5, width=16, block_count=1, head_count=2)
    network, rays = RayTransformer(size).eval(), RayBatch.random(2, size)
    rays.is_seen[..., 2], rays.is_seen[..., 0] = False, True
    changed = replace(rays, angles=rays.angles.clone())
    changed.angles[..., 2, :] += 1.0
    with torch.inference_mode():
        torch.testing.assert_close(network(rays), network(changed))


def test_a_size_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="divisible"):
        RayTransformerSize(width=64, head_count=5)


def test_all_samples_lie_where_the_sources_show_them():
    scene = SpeedScene.read(SMALL, 8, 3)
    proposal = scene.propose(build_lifter("nearest_view"))
    grid = FeatureGrid.covering(scene.target.camera.size, 4.0)
    dense = all_samples(proposal, grid, scene.depth_range, 6)
    assert dense.weight.shape == (16, 18)
    assert dense.source.flatten().bincount().tolist() == [16 * 6] * 3
    side = scene.target.camera.size.height
    assert float(is_inside(dense.uv, side, side).float().mean()) > 0.5
    # Every source's share is the same, so constant features lift to the constant.
    operator = RandomOperator.of(scene, 5, 4.0)
    ones = [replace(one, values=torch.ones_like(one.values)) for one in operator.sources]
    torch.testing.assert_close(blend(dense, ones).features.values, torch.ones(5, 4, 4))


@pytest.mark.parametrize("location", [SMALL, "procedural:room?views=6&height=64&width=40"])
def test_frames_are_squares_of_the_views(location):
    scene = SpeedScene.read(location, 12, 4)
    assert len(scene.frames) == 4
    assert scene.target.id not in scene.frames
    for frame in scene.frames.values():
        assert (frame.camera.size.height, frame.camera.size.width) == (24, 24)
        assert frame.z_depth.shape == (24, 24)
    proposal = scene.propose(build_lifter("depth_mean"))
    assert (proposal.grid.rows, proposal.grid.cols) == (12, 12)
    # The cut frames still belong to their cameras: most of the target is seen by sources with the depth they claim.
    assert float((proposal.probability.sum(-1) > 0).float().mean()) > 0.8
    few = scene.with_sources(2)
    assert [name for name, _ in few.target.sources] == list(few.frames) == list(scene.frames)[:2]


def test_a_scene_of_too_few_views_is_refused():
    with pytest.raises(ConfigError, match="6 usable views; 6 sources"):
        SpeedScene.read(SMALL, 8, 6)


def test_multiply_adds_are_counted():
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    assert speed.multiply_adds(lambda: a @ b) == 3 * 4 * 5


@pytest.fixture(scope="module")
def figures():
    return speed.measure(TINY, SMALL, "lift3d", threads=1)


def test_figures_are_complete_and_agree(figures):
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["guide_cells"] == [16, 16]
    assert figures["propose_seconds_64x64"] == pytest.approx(16 * figures["propose_seconds"])
    assert figures["propose_multiply_adds_64x64"] > 0
    assert [one["sources"] for one in figures["gnt"]] == [3, 4]
    ratio = figures["gnt"][0]["seconds_64x64"] / figures["propose_seconds_64x64"]
    assert figures["propose_ratio_to_gnt"] == pytest.approx(ratio)
    assert [(one["sources"], one["cells"]) for one in figures["operators"]] == [(4, 64), (4, 4), (3, 64), (3, 4)]
    first = figures["operators"][0]
    assert figures["operator_ratio_to_dense"] == first["dense_seconds"] / first["operator_seconds"]
    assert first["dense_samples"] == 4 * 8
    memory = figures["memory"]
    assert memory["operator_cells"] == [16, 16]
    assert 0 < memory["started_bytes"] < memory["held_bytes"] <= memory["peak_bytes"]
    assert memory["predicted_bytes"] == pytest.approx(memory["peak_bytes"], rel=0.35)
    assert memory["feature_bytes"] == 4 * 8 * 16 * 16 * (3 + 1)


def test_threads_are_restored(figures):
    before = torch.get_num_threads()
    with pytest.raises(ConfigError, match="views"):
        speed.measure(speed.FULL, SMALL, "nearest_view", threads=before + 1)
    assert torch.get_num_threads() == before


def test_the_table_shows_the_headlines(figures):
    text = table(figures)
    assert f"{figures['propose_seconds_64x64']:.3f}" in text
    assert f"{figures['propose_ratio_to_gnt']:.1f} times" in text
    assert f"{figures['memory']['peak_bytes'] / 2**20:.0f} MiB" in text


def test_a_wrong_request_is_refused():
    with pytest.raises(UnknownNameError, match="plane_sweep"):
        speed.measure(TINY, SMALL, "plane_sweeep")
    with pytest.raises(ConfigError, match="thread"):
        speed.measure(TINY, SMALL, "nearest_view", threads=0)


def test_a_process_that_fails_is_named():
    with pytest.raises(WorkerLostError, match="code 1"):
        in_fresh_process(SMALL, "nearest_view", 8, 99, 4)


def test_the_command_prints_json(monkeypatch):
    monkeypatch.setattr(speed, "FULL", TINY)
    options = ["--lifter", "nearest_view", "--capture", SMALL, "--threads", "1", "--json"]
    ran = CliRunner().invoke(cli.app, ["bench", "speed", *options])
    assert ran.exit_code == 0, ran.output
    headlines = {"propose_seconds_64x64", "propose_ratio_to_gnt", "operator_ratio_to_dense"}
    assert headlines <= json.loads(ran.stdout).keys()
