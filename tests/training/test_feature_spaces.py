"""Feature spaces and their faults: exact grids, equal for equal seeds, each fault what it says."""

import numpy as np
import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.errors import ShapeError
from lift3d.geometry.rays import cell_centers
from lift3d.training.descriptors import Descriptor
from lift3d.training.faults import FaultStrengths, draw_faults, with_faults
from lift3d.training.feature_spaces import draw_feature_space
from lift3d.training.random_networks import RandomConvNet, RandomViT

SPACES = 24


def _noise(seed, height=64, width=96):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(SPACES))
def test_a_space_is_its_seed_and_fits_its_grid(seed):
    space, again = (draw_feature_space(np.random.default_rng(seed)) for _ in range(2))
    image = _noise(seed, 80, 100)
    (features,), (same,) = (one.encode_views(image[None]) for one in (space, again))
    assert torch.equal(features.values, same.values)
    assert torch.isfinite(features.values).all()
    assert 32 <= features.channel_count <= 128
    # The views of a batch do not see each other.
    both = space.encode_views(torch.stack([_noise(1, 80, 100), image]))
    assert torch.allclose(both[1].values, features.values, atol=1e-4)


def test_all_kinds_and_strides_are_drawn_and_images_of_less_than_a_cell_are_refused():
    names = {draw_feature_space(np.random.default_rng(seed)).name for seed in range(100)}
    assert {name.split("-")[0] for name in names} == {"convnet", "vit", "gradients", "comparisons", "waves", "moments"}
    assert {int(name.split("-")[1]) for name in names} == {2, 4, 8, 14, 16}
    with pytest.raises(ShapeError, match="at least"):
        draw_feature_space(np.random.default_rng(0)).encode_views(torch.zeros(1, 3, 16, 16))


def _center_of_change(encoder, place, size, seed):
    """Where the features change when the image changes around a place."""
    image = torch.full((3, size.height, size.width), 0.5)
    at = cell_centers(size.height, size.width)
    bump = torch.exp(-((at - torch.tensor(place)) ** 2).sum(-1) / (2 * 3.0**2))
    generator = torch.Generator().manual_seed(seed)
    texture = torch.rand(image.shape, generator=generator) - 0.5
    with torch.no_grad():
        plain, changed = encoder(image[None])[0], encoder((image + bump * texture)[None])[0]
    energy = (changed - plain).square().sum(0)
    grid = encoder.grid(size)
    centers = cell_centers(grid.rows, grid.cols, (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v))
    return (energy[..., None] * centers).sum((0, 1)) / energy.sum()


@pytest.mark.parametrize("kind", ["convnet", "vit", "descriptor"])
@pytest.mark.parametrize("stride", [4, 8])
def test_features_answer_where_their_cells_say_they_are(kind, stride):
    size = ImageSize(96, 128)
    offsets = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        if kind == "convnet":
            encoder = RandomConvNet(rng, stride, 32)
            encoder.style.is_normalized = False
        elif kind == "vit":
            encoder = RandomViT(rng, stride, 32)
            encoder.blocks = torch.nn.ModuleList()
        else:
            encoder = Descriptor(rng, stride)
        for number, place in enumerate(((50.0, 41.0), (67.0, 50.0), (60.5, 55.0))):
            offsets.append(_center_of_change(encoder, place, size, 3 * seed + number) - torch.tensor(place))
    # Half a pixel per strided stage would show: 3 pixels at stride 4, 7 at stride 8 of shifted nets.
    assert torch.stack(offsets).mean(0).abs().max() < 0.12 * stride


@pytest.mark.parametrize("seed", range(8))
def test_the_grid_of_a_convolutional_net_is_the_centre_of_what_a_cell_sees(seed):
    net = RandomConvNet(np.random.default_rng(seed), 8, 16)
    net.style.is_normalized, net.style.is_soft = False, True
    size = ImageSize(128, 144)
    image = torch.full((1, 3, size.height, size.width), 0.5, requires_grad=True)
    features, grid = net(image), net.grid(size)
    assert features.shape[2:] == (grid.rows, grid.cols)
    row, col = grid.rows // 2, grid.cols // 2
    features[0, :, row, col].square().sum().backward()
    reached = image.grad[0].abs().sum(0) > 0
    rows, cols = reached.any(1).nonzero()[:, 0], reached.any(0).nonzero()[:, 0]
    middle_v, middle_u = (float(ends.min() + ends.max() + 1) / 2 for ends in (rows, cols))
    assert middle_v == pytest.approx(grid.origin_v + grid.stride_v * (row + 0.5))
    assert middle_u == pytest.approx(grid.origin_u + grid.stride_u * (col + 0.5))


def _maps(count=3, channels=8):
    space = draw_feature_space(np.random.default_rng(1))
    maps = space.encode_views(torch.stack([_noise(seed) for seed in range(count)]))
    return [FeatureMap(one.values[:channels], one.grid) for one in maps]


def _differences(strengths):
    maps = _maps()
    before = [one.values.clone() for one in maps]
    faulty, again = (with_faults(maps, strengths, np.random.default_rng(2)) for _ in range(2))
    for one, start, after, repeat in zip(maps, before, faulty, again, strict=True):
        assert torch.equal(one.values, start)
        assert torch.equal(after.values, repeat.values)
    return torch.stack([after.values - one.values for one, after in zip(maps, faulty, strict=True)])


def test_each_fault_is_what_it_says_and_drawn_ones_range_from_none_to_several():
    assert _differences(FaultStrengths()).abs().max() < 1e-5
    bias = _differences(FaultStrengths(channel_bias=0.3))
    assert bias.std(dim=(2, 3)).max() < 1e-4
    assert (bias[0] - bias[1]).abs().max() > 1e-2
    field = _differences(FaultStrengths(positional_field=0.5))
    assert torch.allclose(field[0], field[1], atol=1e-4)
    assert field[0].std(dim=(1, 2)).min() > 0
    padding = _differences(FaultStrengths(padding=1.0)).abs().mean((0, 1))
    assert padding[0].mean() > 10 * padding[padding.shape[0] // 2, padding.shape[1] // 2]
    share = 0.05
    is_outlier = _differences(FaultStrengths(outlier_share=share, outlier_loudness=8.0)).abs().sum(1) > 0
    assert 0 < is_outlier.float().mean() < 3 * share
    drawn = [draw_faults(np.random.default_rng(seed)) for seed in range(60)]
    assert FaultStrengths() in drawn
    assert sum(one.channel_bias > 0 for one in drawn) > 5
