"""The plug-ins of real networks: what every operator promises, where their cells look, what they see and paint."""

from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample
from lift3d.operators.catalog import build_operator
from tests.contracts import test_operator_contract as contract
from tests.real.plugins.style_transfer import STYLES, FastStyle
from tests.support.warping import correspondences

PLUGINS = Path(__file__).parent / "plugins"
MOBILENETS = ("mobilenet_s4", "mobilenet_s8", "mobilenet_s16")
DESCRIPTORS = ("alike", "r2d2")
FEATURES = (*MOBILENETS, *DESCRIPTORS, "vgg_r31")
ALL = (*FEATURES, *STYLES)
SHIFTABLE = ("mobilenet_s4", "mobilenet_s8", "vgg_r31")
PROMISES = (
    contract.test_it_satisfies_the_protocol_and_describes_itself,
    contract.test_it_is_deterministic_and_leaves_the_global_generator_alone,
    contract.test_decode_depends_on_its_arguments_alone,
    contract.test_the_state_does_not_depend_on_the_order_of_views,
    partial(contract.test_any_image_size_is_covered_by_finite_cells, size=(33, 100)),
    partial(contract.test_any_image_size_is_covered_by_finite_cells, size=(7, 5)),
)

pytestmark = pytest.mark.real


def built(name):
    file_name = "style_transfer.py" if name in STYLES else "feature_networks.py"
    return build_operator(name, (f"{PLUGINS / file_name}:{name}",))


operator_of = cache(built)


@pytest.mark.parametrize(
    ("name", "promise"),
    [(name, promise) for name in ALL for promise in PROMISES]
    + [(name, contract.test_moving_the_image_by_a_cell_moves_the_features_by_a_cell) for name in SHIFTABLE],
)
def test_it_keeps_what_every_operator_promises(monkeypatch, name, promise):
    monkeypatch.setattr(contract, "operator_of", operator_of)
    monkeypatch.setattr(contract, "build_operator", built)
    promise(name)


def probes(frame_of, height, width):
    """Photographs, something smooth, and noise: what a cell looks at depends on what there is to see."""
    photos = [frame_of("kitchen", index).image[:, :height, :width] for index in (10, 40, 70)]
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))
    return [*photos, contract.image_of(height, width), noise]


def offset_of_what_is_felt(operator, image, dot_count):
    """Invert single pixels and return how far (v, u px) the cells that feel it say they are from it, on average."""
    plain = operator.encode(image)[0]
    grid = plain.grid
    centers = cell_centers(grid.rows, grid.cols, (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v))
    # An inverted pixel also changes statistics of the whole image, which all cells feel a little.
    reach = 8 * grid.stride_u + 12
    generator = torch.Generator().manual_seed(0)
    height, width = image.shape[-2:]
    offsets = []
    for _ in range(dot_count):
        row, col = (
            int(torch.randint(side * 3 // 10, side * 7 // 10, (1,), generator=generator)) for side in (height, width)
        )
        dotted = image.clone()
        dotted[:, row, col] = 1 - dotted[:, row, col]
        away = centers - torch.tensor([col + 0.5, row + 0.5])
        felt = (operator.encode(dotted)[0].values - plain.values).square().sum(0)
        felt = felt * (away.abs() <= reach).all(-1)
        offsets.append((felt[..., None] * away).sum((0, 1)) / felt.sum())
    return torch.stack(offsets).mean(0).flip(0)


@pytest.mark.parametrize(
    ("names", "size", "dot_count", "limit"),
    [
        (("mobilenet_s4",), (96, 128), 32, 0.1),
        (("mobilenet_s8",), (128, 160), 32, 0.1),
        (("mobilenet_s16",), (192, 256), 24, 0.1),
        (("vgg_r31",), (64, 80), 16, 0.1),
        # Each style has learned to look a little to one side; what they share is the architecture.
        (tuple(STYLES), (112, 144), 8, 0.1),
        # One pixel per cell, which hundreds of pixels around it have a say in.
        (("alike",), (128, 160), 12, 1.0),
        (("r2d2",), (96, 128), 6, 1.0),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and isinstance(value[0], str) else None,
)
def test_cells_look_where_their_grid_says(frame_of, names, size, dot_count, limit):
    images = probes(frame_of, *size)
    offsets = [offset_of_what_is_felt(operator_of(name), image, dot_count) for name in names for image in images]
    in_cells = torch.stack(offsets).mean(0) / operator_of(names[0]).spec.stride_px
    assert float(in_cells.abs().max()) < limit, in_cells


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize(("height", "width"), [(192, 256), (101, 83)])
def test_painting_ones_own_features_is_the_plain_network(frame_of, name, height, width):
    image = frame_of("kitchen", 10).image[:, :height, :width].contiguous()
    operator = operator_of(name)
    said = operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(height, width)).values
    rows, cols = -height % 4, -width % 4
    mirrored = torch.cat([image[:, :rows].flip(1), image], 1)
    mirrored = torch.cat([mirrored[:, :, :cols].flip(2), mirrored], 2)
    expected = FastStyle(name)(255 * mirrored[None])[0] / 255
    torch.testing.assert_close(said, expected[:, rows:, cols:].clamp(0, 1), atol=1e-3, rtol=0)


def share_matched(name, first, second, within_px):
    """Return how many pixels' features are most like those at the true place in another view, of all places there."""
    a, b = ((frame.camera.K.float(), frame.camera.w2c.float()) for frame in (first, second))
    uv, is_seen = correspondences(first.z_depth, second.z_depth, a, b)
    rows, cols = torch.nonzero(is_seen)[::53].unbind(1)
    here, there = (operator_of(name).encode(frame.image)[0] for frame in (first, second))
    grid = there.grid
    strides, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    asked = sample(here.values, torch.stack([cols, rows], -1) + 0.5, strides, origin)
    likeness = functional.normalize(asked, dim=0).T @ functional.normalize(there.values.flatten(1), dim=0)
    found = cell_centers(grid.rows, grid.cols, strides, origin).reshape(-1, 2)[likeness.argmax(1)]
    return float(((found - uv[rows, cols]).norm(dim=-1) < within_px).float().mean())


def test_descriptors_find_the_same_surface_in_another_view(frame_of):
    """Weights in the wrong layers would still pass as features; they would not know a place again."""
    frames = frame_of("kitchen", 40), frame_of("kitchen", 44)
    matched = {name: share_matched(name, *frames, within_px=8.0) for name in FEATURES}
    assert min(matched[name] for name in DESCRIPTORS) > max(0.7, *(matched[name] for name in (*MOBILENETS, "vgg_r31")))
    # A twentieth of the image would be found by chance at most.
    assert min(matched.values()) > 0.25
