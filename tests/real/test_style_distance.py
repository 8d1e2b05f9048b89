"""What the distance of styles is worth: how far a painting is from others once it is moved, or seen from nearer."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from lift3d.bench.picture_figures import from_others, gram_of
from lift3d.operators.catalog import build_operator
from tests.real.test_split_networks import answer

PLUGINS = Path(__file__).parent / "plugins"

pytestmark = pytest.mark.real


def resampled(picture, shift_px, zoom):
    """The picture moved along both axes, and enlarged around its centre, read bicubically."""
    height, width = picture.shape[1:]
    move = torch.tensor([2 * shift_px / width, 2 * shift_px / height])
    theta = torch.cat([torch.eye(2) / zoom, move[:, None]], dim=1)[None]
    grid = functional.affine_grid(theta, [1, *picture.shape], align_corners=False)
    return functional.grid_sample(picture[None], grid, "bicubic", "border", align_corners=False)[0].clamp(0, 1)


def test_the_same_painting_moved_by_half_a_pixel_or_seen_from_nearer_is_far_from_fresh_ones(frame_of):
    """So no surface can carry a painting to other views and stay within 1.15 of what fresh ones are apart."""
    painter = build_operator("faststyle_rain", (f"{PLUGINS / 'style_transfer.py'}:faststyle_rain",))
    network = build_operator("vgg_r31", (f"{PLUGINS / 'feature_networks.py'}:vgg_r31",))
    fresh = [answer(painter, frame_of("kitchen", at).image) for at in range(0, 100, 16)]
    grams = [gram_of(one, network) for one in fresh]
    among = from_others(grams, grams).sum()

    def far(shift_px, zoom):
        return from_others([gram_of(resampled(one, shift_px, zoom), network) for one in fresh], grams).sum() / among

    assert far(0.0, 1.0) == pytest.approx(1, abs=1e-3)
    assert 1.3 < far(0.5, 1.0) < 1.5
    assert 1.9 < far(0.0, 1.2) < 2.2
