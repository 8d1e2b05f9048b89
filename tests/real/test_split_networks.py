"""Real networks through one call: they say what they said before they were cut, and cells look where they are put."""

import os
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.metrics.image_quality import psnr_of
from lift3d.operators.catalog import build_operator, load_plugin
from lift3d.operators.split.model import SplitModel
from lift3d.scenes.catalog import read_scene

FILE = Path(__file__).parent / "plugins" / "split_networks.py"
OLDER = {"style_rain": "style_transfer.py:faststyle_rain", "mosaic_split": "npz_segmentation.py:mosaic"}

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("LIFT3D_TEST_DATA"), reason="LIFT3D_TEST_DATA is not set"),
]


@cache
def operator_of(name: str) -> SplitModel:
    found = load_plugin(f"{FILE}:{name}")
    assert isinstance(found, SplitModel)
    return found


@cache
def image_of(capture: str, height: int = 192) -> torch.Tensor:
    return read_scene(f"{os.environ['LIFT3D_TEST_DATA']}/captures/{capture}").views[20].load(height).image


def answer(operator, image):
    return operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(*image.shape[-2:])).values


def test_style_is_the_same_painting_as_by_the_adapter_written_by_hand():
    image = image_of("kitchen")
    by_hand = build_operator("faststyle_rain", (f"{FILE.parent / 'style_transfer.py'}:faststyle_rain",))
    torch.testing.assert_close(answer(operator_of("style_rain"), image), answer(by_hand, image), atol=2e-3, rtol=0)


def test_segmentation_agrees_with_the_adapter_written_by_hand():
    image = image_of("kitchen")
    by_hand = build_operator("mosaic", (f"{FILE.parent / 'npz_segmentation.py'}:mosaic",))
    # That one rounds pixels to bytes and reads logits at their cells; nothing else differs.
    assert (answer(operator_of("mosaic_split"), image) == answer(by_hand, image)).float().mean() > 0.95


@pytest.mark.parametrize("capture", ["kitchen", "bear"])
def test_super_resolution_restores_more_than_bicubic(capture):
    image = image_of(capture)
    shape = tuple(image.shape[-2:])
    small = functional.avg_pool2d(image[None], 2)
    plain = functional.interpolate(small, shape, mode="bicubic", align_corners=False)[0].clamp(0, 1)
    everywhere = torch.ones(shape, dtype=torch.bool)
    lifted = answer(operator_of("edsr_x2"), image)
    assert psnr_of(lifted, image, everywhere).value > psnr_of(plain, image, everywhere).value + 0.1


def test_low_light_enhancement_needs_its_image_lifted_too():
    image = image_of("kitchen")
    brightened = answer(operator_of("zerodce"), 0.2 * image)
    assert brightened.mean() > 2 * (0.2 * image).mean()
    assert len(operator_of("zerodce").encode(image)) == 2


@pytest.mark.parametrize(
    ("name", "expected_px"), [("mobilenet_split", (6.0, 6.0)), ("style_rain", (3.2, 2.7)), ("zerodce", (0.5, 0.5))]
)
def test_cells_look_where_other_measurements_say(name, expected_px):
    # Of the adapters written by hand: where one changed pixel is felt, and which place makes features of mirrored
    # photographs mirror images.
    (cut, *_) = operator_of(name).geometry.cuts
    for side, wanted, stride in zip(cut.first, expected_px, cut.layout.stride, strict=True):
        assert abs(side - wanted) <= 0.1 * stride + 0.07 * stride
