"""The small image-to-image models: shipped weights beat plain baselines, and decode knows nothing but its arguments."""

from functools import cache

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError, ShapeError
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator
from lift3d.operators.tiny.catalog import build
from lift3d.operators.tiny.colorizer import luminance_of
from lift3d.operators.tiny.style import STYLES
from lift3d.operators.tiny.superresolution import reduce_by_area
from lift3d.training.tiny import train_colorizer, train_depth, train_style, train_superresolution
from lift3d.training.tiny.photo_pictures import (
    answer_of,
    evaluation_photographs,
    evaluation_views,
    pixels,
    psnr_of_pictures,
    training_photographs,
    training_views,
)
from lift3d.training.tiny.scene_pictures import ScenePicture
from lift3d.training.tiny.style_pictures import style_pictures
from lift3d.training.tiny.train import descend
from tests.support.operators import image_of, looks_away


@cache
def operator_of(name: str) -> Operator:
    return build(OperatorName.parse(f"tiny:{name}"))


@cache
def views() -> tuple[ScenePicture, ...]:
    """One evaluation view of each family."""
    return evaluation_views((9000,))


@cache
def photograph_pieces() -> tuple[torch.Tensor, ...]:
    """The middles of the evaluation photographs, odd in both directions."""
    return tuple(pixels(one[None])[0, :, 80:211, 120:271] for one in evaluation_photographs())


def computed() -> list[torch.Tensor]:
    return [one.image for one in views()]


def test_superresolution_beats_the_bicubic_enlargement() -> None:
    operator = operator_of("superresolution")
    for pictures in (computed(), photograph_pieces()):
        answer = psnr_of_pictures(pictures, lambda image: answer_of(operator, image))
        assert answer > psnr_of_pictures(pictures, train_superresolution.bicubic_of) + 0.5


def test_colors_are_nearer_than_grey() -> None:
    operator = operator_of("colorizer")
    answer = psnr_of_pictures(computed(), lambda image: answer_of(operator, image))
    assert answer > psnr_of_pictures(computed(), train_colorizer.grey_of) + 1


def test_depth_beats_a_vertical_gradient_by_figures_that_know_neither_scale_nor_shift() -> None:
    operator = operator_of("depth")
    (error, words), (correlation, plain) = train_depth.measure(operator, views()).values()
    plain_error, plain_correlation = (float(one.rsplit(" ", 1)[1]) for one in (words, plain))
    assert error < 0.8 * plain_error
    assert correlation > plain_correlation + 0.1
    truth = 0.2 + torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(1))
    error, correlation = train_depth.alignment_figures(3 * truth - 7, truth)
    assert error < 1e-4
    assert correlation > 0.9999


@pytest.mark.parametrize("style", STYLES)
def test_a_painted_picture_is_nearer_to_the_style_and_still_shows_what_it_showed(style: str) -> None:
    operator = operator_of(f"style?style={style}")
    wanted = style_pictures()[STYLES.index(style)]
    distance, plain, kept = train_style.figures_of(operator, computed()[:2], wanted)
    assert distance < 0.7 * plain
    assert kept > 0.5


def test_superresolution_sees_block_means_alone_and_enlarges_a_pixel_over_its_block() -> None:
    image = 0.3 + 0.4 * image_of(32, 48)
    ripple = 0.2 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(16, 24)
    torch.testing.assert_close(reduce_by_area((image + ripple)[None]), reduce_by_area(image[None]))
    operator = operator_of("superresolution")
    for one, other in zip(operator.encode(image), operator.encode(image + ripple), strict=True):
        torch.testing.assert_close(one.values, other.values, atol=1e-4, rtol=1e-3)
    # The answer, reduced again, is the reduced picture: also where a row and a column are left over.
    image = image_of(33, 47)
    features = operator.encode(image)
    assert (features[1].grid.origin_u, features[1].grid.origin_v) == (0, 0)
    answer = operator.decode(features, EMPTY_STATE, ImageSize(33, 47)).values
    again = reduce_by_area(answer[None, :, :32, :46])[0]
    assert float((again - features[1].values[:, :16, :23]).abs().mean()) < 0.01


def test_the_colorizer_sees_no_color_and_keeps_brightness() -> None:
    image, operator = 0.2 + 0.6 * image_of(40, 56), operator_of("colorizer")
    features = operator.encode(image)
    for one, other in zip(features, operator.encode(luminance_of(image).expand(3, -1, -1)), strict=True):
        torch.testing.assert_close(one.values, other.values, atol=1e-4, rtol=1e-3)
    answer = operator.decode(features, EMPTY_STATE, ImageSize(40, 56)).values
    is_free = ((answer > 0) & (answer < 1)).all(0)
    assert bool(is_free.any())
    torch.testing.assert_close(luminance_of(answer)[0][is_free], luminance_of(image)[0][is_free])


@pytest.mark.parametrize("name", ["superresolution", "colorizer", "style"])
def test_features_of_another_size_are_refused(name: str) -> None:
    operator = operator_of(name)
    with pytest.raises(ShapeError, match="Give the grid of encode"):
        operator.decode(operator.encode(image_of(40, 40)), EMPTY_STATE, ImageSize(80, 40))


def test_a_surface_is_painted_alike_whatever_else_a_view_shows_and_a_constant_one_in_finite_colors() -> None:
    operator, size = operator_of("style?style=waves"), ImageSize(48, 96)
    shared, halves = image_of(48, 48), [image_of(48, 48, seed) for seed in (1, 2)]
    of_views = {name: operator.encode(torch.cat([shared, half], 2)) for name, half in zip("ab", halves, strict=True)}
    state = operator.fit_scene(of_views, SceneViews.of({}))
    one, other = (operator.decode(of_views[name], state, size).values for name in "ab")
    torch.testing.assert_close(one[..., :16], other[..., :16], atol=1e-4, rtol=1e-4)
    alone = operator.decode(of_views["a"], operator.fit_scene({"a": of_views["a"]}, SceneViews.of({})), size)
    assert not torch.allclose(alone.values[..., :16], one[..., :16], atol=1e-3)
    features = operator.encode(torch.full((3, 24, 24), 0.5))
    state = operator.fit_scene({"a": features}, SceneViews.of({}))
    assert bool(torch.isfinite(operator.decode(features, state, ImageSize(24, 24)).values).all())
    assert operator.fit_scene({}, SceneViews.of({})).is_empty


def test_training_never_sees_what_judges() -> None:
    held_out = evaluation_photographs()
    assert len(held_out) == 3
    for picture in training_photographs():
        assert not any(picture.shape == other.shape and (picture == other).all() for other in held_out)
    with pytest.raises(ConfigError, match="for evaluation"):
        training_views(1000, 10)


def test_descent_finds_the_least_and_repeats_itself() -> None:
    found = []
    for _ in range(2):
        place = torch.nn.Parameter(torch.tensor([0.8, 0.3]))
        descend([place], lambda step, place=place: (place - 0.5).square().sum(), 500)
        found.append(place.detach())
    assert torch.equal(*found)
    torch.testing.assert_close(found[0], torch.full((2,), 0.5), atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", ["colorizer", "depth", "style"])
def test_what_cells_look_at_lies_around_their_centres(name: str) -> None:
    """One cell minds what is beside it more or less; over many cells that evens out, or the grid is displaced."""
    cells, operator = ((12, 14), (12, 26), (18, 14), (18, 26)), operator_of(name)
    cases = [(image, cell) for image in computed()[:3] for cell in cells]
    away = [looks_away(operator, image, cell, 1, step=4, across=10, strips=4) for image, cell in cases]
    assert abs(sum(away) / len(away)) < 0.25 * operator.spec.stride_px
