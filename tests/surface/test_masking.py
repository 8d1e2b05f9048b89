"""Invalid pixels never vote: nor do they where the surface is a guess."""

import torch

from lift3d.domain.features import FeatureGrid
from lift3d.domain.weights import BlendingWeights
from lift3d.surface.anchors import GUESSED
from lift3d.surface.masking import without_invalid


def test_invalid_pixels_answer_nowhere_and_what_is_known_stays():
    """Of three cells, each with a tap of two views, one is known; the first view's left half is invalid."""
    half = torch.ones(4, 4, dtype=torch.bool)
    half[:, :2] = False
    right = torch.tensor([3.0, 1.0])
    uv = torch.tensor([[1.0, 1.0]]).repeat(6, 1).reshape(3, 2, 2)
    uv[1, 1] = right
    weights = BlendingWeights(
        FeatureGrid(1, 3, 1.0, 1.0),
        ("a", "b"),
        torch.tensor([[0, 1], [0, 0], [0, 0]]),
        uv,
        torch.tensor([[0.5, 0.5], [0.75, 0.25], [0.5, 0.5]]),
        torch.full((3, 2), torch.nan),
        torch.full((3,), torch.nan),
        torch.tensor([0.9, GUESSED, GUESSED]),
    )
    masks = {"a": half, "b": torch.ones(4, 4, dtype=torch.bool)}
    found = without_invalid(weights, masks.__getitem__)
    assert found.weight.tolist() == [[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]
    assert found.coverage.tolist() == torch.tensor([0.9, GUESSED, 0.0]).tolist()
