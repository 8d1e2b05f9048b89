"""What views show that is no part of the scene: found where one contradicts all others, and large enough to be one."""

import pytest
import torch
import torch.nn.functional as F

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.surface.reliability import CONTRADICTED, REACHES, beyond, contradiction, is_contradicted, unrelated_residual

GRID = FeatureGrid.covering(ImageSize(48, 64), 1.0)


def scored(**places):
    """Return a score of the image, 0 but in rectangles (rows, cols) of a value."""
    score = torch.zeros(GRID.shape)
    for value, rows, cols in places.values():
        score[rows, cols] = value
    return score


def test_a_thing_is_cut_as_far_as_it_reaches_and_specks_are_not():
    thing, beside = (1.0, slice(10, 22), slice(10, 22)), (REACHES + 0.05, slice(10, 22), slice(22, 34))
    speck, faint = (1.0, slice(40, 43), slice(40, 43)), (CONTRADICTED - 0.05, slice(30, 44), slice(4, 18))
    is_cut = is_contradicted(scored(thing=thing, beside=beside, speck=speck, faint=faint))
    assert bool(is_cut[9:23, 9:35].all())
    is_cut[8:24, 8:36] = False
    assert not bool(is_cut.any())


def test_witnesses_differ_from_their_mean_as_much_as_it_is_shorter():
    views = F.normalize(torch.randn(5, 7, 16, generator=torch.Generator().manual_seed(0)), dim=2)
    mean = views.mean(0)
    theirs = torch.stack([beyond(view, mean, mean.norm(dim=1)) for view in views])
    assert theirs.mean(0).abs().max() < 1e-6
    other = beyond(-mean, mean, mean.norm(dim=1))
    assert torch.allclose(other, 1 + mean.norm(dim=1), atol=1e-5)


def test_as_different_as_unrelated_places_is_one():
    features = F.normalize(torch.randn(4000, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    assert float(unrelated_residual(features)) == pytest.approx(1, abs=0.01)
    coarse = FeatureGrid.covering(ImageSize(48, 64), 4.0)
    excess = torch.full((1, *coarse.shape), 0.8)
    excess[:, 6:] = torch.nan
    score = contradiction(FeatureMap(excess, coarse), torch.tensor(0.8), GRID)
    assert torch.allclose(score[:20], torch.ones(20, 64), atol=1e-4)
    assert torch.isfinite(score).all()
    assert float(score[-4:].abs().max()) == 0
