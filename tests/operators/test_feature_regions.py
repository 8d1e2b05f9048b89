"""Regions joined by features: levels are nested, and features decide where colours do not."""

from itertools import pairwise

import numpy as np
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.operators.feature_regions import NO_REGION, feature_regions


def chequered() -> torch.Tensor:
    """Squares of eight pixels, dark and light."""
    row, col = np.mgrid[:64, :64] // 8
    return torch.from_numpy(((row + col) % 2 * 0.8 + 0.1).astype(np.float32)).expand(3, 64, 64)


def halves(angle: float) -> FeatureMap:
    """One feature in the left half, and one at an angle to it in the right."""
    values = torch.zeros(2, 8, 8)
    values[0, :, :4] = 1
    values[:, :, 4:] = torch.tensor([np.cos(angle), np.sin(angle)], dtype=torch.float32)[:, None, None]
    return FeatureMap(values, FeatureGrid.covering(ImageSize(64, 64), 8.0))


def test_squares_of_a_chequerboard_are_joined_where_features_are_one():
    is_valid = torch.ones(64, 64, dtype=torch.bool)
    is_valid[:4] = False
    fine, coarse = feature_regions(chequered(), halves(1.2), torch.zeros(2), is_valid, (0.9, 0.1))
    assert len(np.unique(fine[8:, :24])) == 1
    assert len(np.unique(fine[8:, 40:])) == 1
    assert fine[20, 10] != fine[20, 50]
    assert len(np.unique(coarse[8:])) == 1
    assert (fine[:4] == NO_REGION).all()


def test_coarser_levels_are_made_of_finer_ones():
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = FeatureMap(
        torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(1)), FeatureGrid.covering(ImageSize(64, 64), 8.0)
    )
    levels = feature_regions(noise, features, torch.zeros(6))
    for fine, coarse in pairwise(levels):
        pairs = np.unique(np.stack([fine.ravel(), coarse.ravel()]), axis=1)
        assert len(pairs.T) == len(np.unique(fine))
