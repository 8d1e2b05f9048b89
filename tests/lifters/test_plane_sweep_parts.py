"""The parts of the plane sweep: matching, aggregation, consensus."""

import dataclasses

import pytest
import torch

from lift3d.domain.proposals import SourceGuide
from lift3d.geometry.cost_aggregation import guided_filter, semi_global
from lift3d.geometry.rays import cell_centers
from lift3d.lifters.depth_consensus import Consensus, SoftDepth, agree, strongest_samples
from lift3d.lifters.photo_consistency import describe, matching_cost
from tests.support.lifting import pixels, same_bits, share
from tests.support.scenes import pinhole, textured_plane_scene

PLANES = torch.linspace(1.0, 0.25, 31)


@pytest.fixture(scope="module")
def views():
    return [
        describe(SourceGuide(view.id, frame.camera, frame.image, frame.is_valid), pixels(frame.camera), 2.0, 0.3)
        for view, frame in ((view, view.load(48)) for view in textured_plane_scene().views)
    ]


def cost_of(view, neighbours):
    return matching_cost(view, neighbours, PLANES, 0.3, 0.01)


def share_at_the_true_plane(cost):
    """The plane lies 2 units ahead and is one of the planes."""
    return share((1 / PLANES[cost.argmin(0)] - 2).abs() < 1e-3)


def test_matching_is_best_at_the_true_plane_and_a_view_in_which_it_is_hidden_does_not_outvote_the_others(views):
    assert share_at_the_true_plane(cost_of(views[2], views[:2] + views[3:])) > 0.8
    garbage = torch.rand(views[0].values.shape, generator=torch.Generator().manual_seed(0))
    hidden, seeing = dataclasses.replace(views[0], values=garbage), [views[1], views[3]]
    alone, beside = (share_at_the_true_plane(cost_of(views[2], some)) for some in (seeing, [hidden, *seeing]))
    assert alone > 0.7
    assert beside > alone - 0.01
    assert bool((cost_of(views[2], []) == 0.3).all()), "where no neighbour looks there is no evidence"


def test_invalid_cells_never_vote(views):
    is_valid = torch.ones_like(views[1].is_valid)
    is_valid[:, 20:40] = False
    masked = dataclasses.replace(views[1], is_valid=is_valid)
    spoiled = dataclasses.replace(masked, values=torch.where(is_valid, masked.values, 7.0))
    same_bits(cost_of(views[2], [masked]), cost_of(views[2], [spoiled]))


def test_guided_filter_keeps_constants_and_follows_edges():
    color = torch.zeros(3, 20, 24)
    color[:, :, 12:] = 1.0
    constant = torch.full((3, 20, 24), 0.2)
    torch.testing.assert_close(guided_filter(constant, color, 3, 1e-3), constant, rtol=0, atol=1e-6)
    # A cost with the edge of the image keeps it; one with an edge elsewhere is smoothed.
    kept = guided_filter(color[:1] * 0.3, color, 3, 1e-4)
    torch.testing.assert_close(kept, color[:1] * 0.3, rtol=0, atol=2e-3)
    smoothed = guided_filter(color[:1].roll(6, dims=2) * 0.3, color, 3, 1e-4)
    assert float((smoothed[0, 10, 16:20] - color[0, 10].roll(6)[16:20] * 0.3).abs().max()) > 0.02


def test_semi_global_equals_its_recursion_written_out():
    generator = torch.Generator().manual_seed(0)
    cost, color = torch.rand(5, 4, 6, generator=generator), torch.rand(3, 4, 6, generator=generator)
    small, large, edge_scale = 0.05, 0.4, 0.2
    expected = torch.zeros_like(cost)
    for step in [(0, 1), (0, -1), (1, 0), (-1, 0)]:
        expected += _paths_cell_by_cell(cost, color, step, (small, large, edge_scale))
    others = torch.rand(2, *cost.shape), torch.rand(2, *color.shape)
    volumes, colors = (torch.cat([one[None], other]) for one, other in zip((cost, color), others, strict=True))
    # Other views beside it change nothing.
    got = semi_global(volumes, colors, (small, large), edge_scale)[0]
    torch.testing.assert_close(got, expected / 4, rtol=1e-5, atol=1e-6)


def _paths_cell_by_cell(cost, color, step, prices):
    small, large, edge_scale = prices
    planes, rows, cols = cost.shape
    path = torch.zeros_like(cost)
    for r in range(rows)[:: step[0] or 1]:
        for c in range(cols)[:: step[1] or 1]:
            r0, c0 = r - step[0], c - step[1]
            path[:, r, c] = cost[:, r, c]
            if not (0 <= r0 < rows and 0 <= c0 < cols):
                continue
            contrast = float((color[:, r, c] - color[:, r0, c0]).abs().mean())
            jump = small + (large - small) * torch.exp(torch.tensor(-contrast / edge_scale))
            before = path[:, r0, c0]
            for d in range(planes):
                options = [before[d], before.min() + jump]
                options += [before[e] + small for e in (d - 1, d + 1) if 0 <= e < planes]
                path[d, r, c] += min(options) - before.min()
    return path


def consensus_of(planes, weights):
    """What sources at the target agree on that each see a wall at one plane."""
    camera, walls = pinhole(), []
    for plane in planes:
        cost = torch.ones(len(PLANES), 12, 16)
        cost[plane] = 0.0
        walls.append(SoftDepth.from_cost(camera, cost, 0.02, torch.ones(12, 16)))
    return agree(camera, cell_centers(12, 16, (4.0, 4.0)), walls, weights, PLANES)


def test_a_source_at_the_target_passes_its_depth_on():
    consensus = consensus_of([10], [1.0])
    z_depth, _, _ = strongest_samples(consensus, PLANES, 2, 1.0)
    torch.testing.assert_close(z_depth[0], torch.full((12, 16), float(1 / PLANES[10])), rtol=1e-4, atol=0)
    # It sees the surface and what lies before it, and nothing behind.
    visibility = consensus.visibility[0, :, 6, 8]
    assert float(visibility[:11].min()) > 0.99
    assert float(visibility[11:].max()) < 0.01


def test_what_a_majority_sees_through_is_not_there():
    assert bool((consensus_of([3, 20, 20, 20], [1.0] * 4).probability.argmax(0) == 20).all())


def test_the_order_of_planes_is_from_near_to_far_along_the_ray():
    # Three of four votes are for a wall at plane 3; only what passes it can reach plane 20.
    probability = consensus_of([3, 20], [3.0, 1.0]).probability[[3, 20], 6, 8]
    assert probability.tolist() == pytest.approx([0.75, 0.25], abs=0.03)


@pytest.mark.parametrize(
    ("given", "place", "kept"), [([0.25, 0.5, 0.25], PLANES[10], 1), ([0.0, 0.5, 0.5], PLANES[10:12].mean(), 2)]
)
def test_a_peak_between_two_planes_is_found_between_them(given, place, kept):
    probability = torch.zeros(len(PLANES), 1, 1)
    probability[9:12, 0, 0] = torch.tensor(given)
    z_depth, shares, _ = strongest_samples(Consensus(probability, torch.ones(1, *probability.shape)), PLANES, 3, 1.0)
    assert float(z_depth[:kept, 0, 0].mean()) == pytest.approx(float(1 / place), rel=1e-4)
    assert float(shares.sum()) == pytest.approx(1)
