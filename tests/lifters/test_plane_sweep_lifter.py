"""What the plane sweep finds, on scenes with known depth. What every lifter promises is in the contract tests."""

import dataclasses

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange
from lift3d.errors import ConfigError
from lift3d.geometry.sampling import sample
from lift3d.lifters.plane_sweep import PlaneSweep, PlaneSweepConfig
from tests.support.scenes import textured_plane_scene, two_planes_scene

SIZE = ImageSize(64, 80)
TARGET = 2


def situation(scene):
    frames = [view.load(SIZE.height) for view in scene.views]
    pairs = list(zip(scene.views, frames, strict=True))
    guides = [SourceGuide(v.id, f.camera, f.image, f.is_valid) for v, f in pairs[:TARGET] + pairs[TARGET + 1 :]]
    return frames[TARGET], guides, scene.depth_range


def depth_error(proposal, frame):
    """Relative error of the most probable depth per guide cell."""
    best = proposal.probability.argmax(1, keepdim=True)
    z = proposal.z_depth.gather(1, best)[:, 0].reshape(proposal.grid.rows, proposal.grid.cols)
    true_z = frame.z_depth[::2, ::2]
    return (z - true_z).abs() / true_z


@pytest.mark.parametrize("slant", [0.0, 0.3])
def test_depth_of_a_plane_is_right_within_two_percent(slant):
    frame, guides, depth_range = situation(textured_plane_scene(size=SIZE, slant=slant))
    wide = DepthRange(depth_range.near / 2, depth_range.far * 3)
    error = depth_error(PlaneSweep().propose(frame.camera, guides, wide), frame)
    # Planes are 3 % apart there. The rim, seen by few sources, and the steepest end may be worse.
    assert float(error.median()) < 0.01
    assert float((error < 0.02).float().mean()) > 0.85


def test_depth_of_two_planes_is_right_but_for_their_edge():
    frame, guides, depth_range = situation(two_planes_scene(size=SIZE))
    error = depth_error(PlaneSweep().propose(frame.camera, guides, depth_range), frame)
    assert float(error.median()) < 0.01
    assert float((error < 0.02).float().mean()) > 0.85


def test_a_range_of_thirty_is_no_harder():
    frame, guides, depth_range = situation(two_planes_scene(size=SIZE))
    wide = DepthRange(depth_range.near / 2, 15 * depth_range.near)
    error = depth_error(PlaneSweep().propose(frame.camera, guides, wide), frame)
    assert float((error < 0.03).float().mean()) > 0.8


def test_a_hidden_surface_is_read_from_the_side_that_sees_it():
    frame, guides, depth_range = situation(two_planes_scene(size=SIZE, baseline=0.15))
    proposal = PlaneSweep().propose(frame.camera, guides, depth_range)
    cell = torch.arange(proposal.grid.cell_count).reshape(proposal.grid.rows, proposal.grid.cols)
    is_card = frame.labels[::2, ::2] == 0
    row = proposal.grid.rows // 2
    edges = torch.nonzero(is_card[row])[:, 0]
    # The wall just left of the card is hidden from cameras on the right, and the other way round.
    for column, hidden, seeing in [(edges[0] - 2, 3, 0), (edges[-1] + 2, 0, 3)]:
        index = cell[row, column]
        wall = (proposal.z_depth[index] / 3.0 - 1).abs().argmin()
        visibility = proposal.view_weight[index, wall]
        assert float(visibility[hidden]) < 0.3 * float(visibility[seeing])


def test_another_exposure_of_one_source_does_not_move_the_surface():
    frame, guides, depth_range = situation(textured_plane_scene(size=SIZE))
    brighter = dataclasses.replace(guides[0], image=(guides[0].image * 1.1).clamp(max=1.0))
    error = depth_error(PlaneSweep().propose(frame.camera, [brighter, *guides[1:]], depth_range), frame)
    assert float((error < 0.02).float().mean()) > 0.9


def test_the_order_of_sources_changes_no_bit():
    frame, guides, depth_range = situation(two_planes_scene(size=SIZE))
    a = PlaneSweep().propose(frame.camera, guides, depth_range)
    b = PlaneSweep().propose(frame.camera, guides[::-1], depth_range)
    assert torch.equal(a.z_depth, b.z_depth)
    assert torch.equal(a.probability, b.probability)
    assert torch.equal(a.view_weight, b.view_weight.flip(-1))


def test_constant_images_are_finite_and_covered():
    frame, guides, depth_range = situation(textured_plane_scene(size=SIZE))
    grey = [dataclasses.replace(guide, image=torch.full_like(guide.image, 0.5)) for guide in guides]
    proposal = PlaneSweep().propose(frame.camera, grey, depth_range)
    for values in (proposal.z_depth, proposal.probability, proposal.view_weight):
        assert bool(torch.isfinite(values).all())
    assert float((proposal.probability.sum(1) > 0.99).float().mean()) > 0.9


def test_one_source_is_enough_to_be_covered():
    frame, guides, depth_range = situation(textured_plane_scene(size=SIZE))
    proposal = PlaneSweep().propose(frame.camera, guides[1:2], depth_range)
    assert float((proposal.probability.sum(1) > 0.99).float().mean()) > 0.8


def test_a_fading_source_fades_out_of_the_answer():
    frame, guides, depth_range = situation(two_planes_scene(size=SIZE))
    without = PlaneSweep().propose(frame.camera, guides[:-1], depth_range)
    faint = dataclasses.replace(guides[-1], taper=1e-4)
    with_faint = PlaneSweep().propose(frame.camera, [*guides[:-1], faint], depth_range)
    is_same = (without.z_depth[:, 0] / with_faint.z_depth[:, 0] - 1).abs() < 1e-2
    assert float(is_same.float().mean()) > 0.97
    share = with_faint.view_weight[..., -1] / with_faint.view_weight.sum(-1).clamp(min=1e-9)
    assert float(share.median()) < 1e-3


def test_sources_of_different_sizes_work_together():
    frame, guides, depth_range = situation(textured_plane_scene(size=SIZE))
    small = guides[0].camera.resized(ImageSize(40, 50))
    at = torch.stack(torch.meshgrid(torch.arange(50) + 0.5, torch.arange(40) + 0.5, indexing="xy"), -1) * 1.6
    resized = dataclasses.replace(
        guides[0], camera=small, image=sample(guides[0].image, at), is_valid=torch.ones(40, 50, dtype=torch.bool)
    )
    error = depth_error(PlaneSweep().propose(frame.camera, [resized, *guides[1:]], depth_range), frame)
    assert float((error < 0.02).float().mean()) > 0.9


def test_the_guide_grid_is_bounded():
    frame, guides, depth_range = situation(textured_plane_scene(size=SIZE))
    proposal = PlaneSweep(PlaneSweepConfig(max_cells=500)).propose(frame.camera, guides, depth_range)
    assert 400 < proposal.grid.cell_count <= 550


def test_a_sweep_without_planes_or_samples_is_refused():
    with pytest.raises(ConfigError, match="planes"):
        PlaneSweepConfig(plane_count=2)
    with pytest.raises(ConfigError, match="samples"):
        PlaneSweepConfig(sample_count=0)
