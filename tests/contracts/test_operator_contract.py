"""What every operator of the catalog promises. A new entry needs an example here; the rest follows."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.domain.scene_views import SceneViews
from lift3d.operators.catalog import OPERATORS, build_operator
from lift3d.operators.protocol import Operator, OperatorSpec
from lift3d.operators.tiny.catalog import TINY
from tests.support.operators import image_of, looks_away

SUPPORT = Path(__file__).parents[1] / "support"
EXAMPLES = {
    "rgb": ("rgb",),
    "hog": ("hog", "hog?cell=6"),
    "felzenszwalb": ("felzenszwalb", "felzenszwalb?as=ids&count=6"),
    "timm": (
        "timm:test_vit?weights=random",
        "timm:vit_small_patch14_dinov2?weights=random&layer=1",
        "timm:resnet18?weights=random",
        "timm:convnext_atto?weights=random&layer=1",
        "timm:test_maxvit?weights=random",
        "timm:test_vit?weights=random&height=64",
        "timm:test_vit?weights=random&positional_field=subtract",
    ),
    "open_clip": ("open_clip:ViT-S-32?weights=random",),
    "open_vocabulary": ("open_vocabulary?of=tiny:clip&prompts=red ball,blue box",),
    "strokes": (f"strokes:{SUPPORT / 'strokes.json'}?of=hog",),
    "split": (f"split:{SUPPORT / 'split_net.py'}:net?cuts=2",),
    "transformers": (
        "transformers:sam?weights=random",
        "transformers:segformer?weights=random&task=image-feature-extraction",
    ),
    "tiny": tuple(f"tiny:{name}" for name in TINY),
    # It knows the views of a scene and no other image: tests/operators/test_view_files.py.
    "files": (),
}
ALL = tuple(name for names in EXAMPLES.values() for name in names)
# Graph-based segmentation looks at the whole image: a cell answers for itself, but not to itself alone. What a U-Net
# says of depth or style hangs on what is around: cells lean by up to a third of their side, now one way, now another.
NOT_LOCAL = ("felzenszwalb", "tiny:depth", "tiny:style", "tiny:colorizer", "tiny:superresolution")
LOCAL = tuple(name for name in ALL if not name.startswith(NOT_LOCAL))
SHIFTABLE = ("rgb", "hog", "timm:resnet18?weights=random", "timm:convnext_atto?weights=random&layer=1")
SHIFTABLE += ("tiny:superresolution", "tiny:style")


@cache
def operator_of(name: str) -> Operator:
    return build_operator(name)


def equal(a: FeatureMap, b: FeatureMap) -> bool:
    tokens = a.global_tokens is b.global_tokens is None or torch.equal(a.global_tokens, b.global_tokens)
    return a.grid == b.grid and tokens and torch.equal(a.values, b.values)


def test_every_kind_of_the_catalog_has_an_example() -> None:
    assert set(EXAMPLES) == set(OPERATORS)


@pytest.mark.parametrize("name", ALL)
def test_it_satisfies_the_protocol_and_describes_itself(name: str) -> None:
    operator = operator_of(name)
    assert isinstance(operator, Operator)
    assert isinstance(operator.spec, OperatorSpec)
    assert operator.spec.name == name
    assert operator.spec.licence
    assert json.loads(json.dumps(operator.spec.identity)) == operator.spec.identity
    features = operator.encode(image_of(48, 48))[0]
    assert features.channel_count == operator.spec.channel_count
    # They can be learned on.
    assert not features.values.requires_grad
    scale = torch.ones(1, requires_grad=True)
    (features.values * scale).sum().backward()
    assert scale.grad is not None


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(48, 64), (49, 75), (33, 100), (7, 5)])
def test_any_image_size_is_covered_by_finite_cells(name: str, size: tuple[int, int]) -> None:
    operator, image = operator_of(name), image_of(*size)
    before = image.clone()
    maps = operator.encode(image)
    for features in maps:
        assert features.values.dtype == torch.float32
        assert torch.isfinite(features.values).all()
        grid = features.grid
        axes = ((grid.origin_v, grid.rows, grid.stride_v, size[0]), (grid.origin_u, grid.cols, grid.stride_u, size[1]))
        for origin, count, stride, length in axes:
            # The border cells are centred within a cell of the border: nothing of the image is far from a cell.
            assert abs(origin) <= stride / 2 + 0.5
            assert abs(origin + count * stride - length) <= stride / 2 + 0.5
    assert torch.equal(image, before)
    state = operator.fit_scene({"a": operator.encode(image_of(48, 64))}, SceneViews.of({}))
    answer = operator.decode(maps, state, ImageSize(*size))
    assert answer.kind == operator.spec.prediction_kind
    assert torch.isfinite(answer.values).all()
    assert answer.kind == "embedding" or answer.values.shape[-2:] == size


@pytest.mark.parametrize("name", ALL)
def test_it_is_deterministic_and_leaves_the_global_generator_alone(name: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = build_operator(name)
    image = image_of(48, 64)
    for one, other in zip(operator_of(name).encode(image), again.encode(image), strict=True):
        assert equal(one, other)
    assert again.spec == operator_of(name).spec
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ALL)
def test_decode_depends_on_its_arguments_alone(name: str) -> None:
    operator, size = operator_of(name), ImageSize(40, 56)
    features = operator.encode(image_of(40, 56))
    kept = [part.values.clone() for part in features]
    state = operator.fit_scene({"a": features}, SceneViews.of({}))
    first = operator.decode(features, state, size)
    operator.encode(image_of(40, 56, seed=9))
    second = operator.decode(features, state, size)
    assert torch.equal(first.values, second.values)
    assert all(torch.equal(part.values, before) for part, before in zip(features, kept, strict=True))
    if first.kind == "embedding":
        assert torch.equal(first.values, features[0].values)


@pytest.mark.parametrize("name", ALL)
def test_the_state_does_not_depend_on_the_order_of_views(name: str) -> None:
    operator = operator_of(name)
    maps = {view: operator.encode(image_of(24, 32, seed)) for seed, view in enumerate("abc")}
    one = operator.fit_scene(maps, SceneViews.of({})).arrays
    other = operator.fit_scene({view: maps[view] for view in "cba"}, SceneViews.of({})).arrays
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", LOCAL)
def test_a_cell_is_centred_where_its_grid_says(name: str) -> None:
    operator = operator_of(name)
    probe = operator.encode(image_of(64, 64))[0].grid
    size = max(160, int(7 * max(probe.stride_u, probe.stride_v)))
    image = image_of(size, size)
    grid = operator.encode(image)[0].grid
    for axis, stride in ((0, grid.stride_v), (1, grid.stride_u)):
        step = max(1, round(stride / 4))
        away = looks_away(operator, image, (grid.rows // 2, grid.cols // 2), axis, step=step, across=6 * step, strips=6)
        assert abs(away) < max(0.25 * stride, 0.51), (axis, away)


@pytest.mark.parametrize("name", SHIFTABLE)
def test_moving_the_image_by_a_cell_moves_the_features_by_a_cell(name: str) -> None:
    operator = operator_of(name)
    stride = round(operator.encode(image_of(64, 64))[0].grid.stride_u)
    # Wide enough that no border reaches the middle: cells see less than sixteen cells around them.
    side = 40 * stride
    large = image_of(side + stride, side + 2 * stride)
    here = operator.encode(large[:, :side, :side].contiguous())[0].values
    there = operator.encode(large[:, stride:, 2 * stride :].contiguous())[0].values
    torch.testing.assert_close(there[:, 18:21, 18:21], here[:, 19:22, 20:23], atol=2e-4, rtol=1e-3)
