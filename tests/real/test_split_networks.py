"""Real networks through one call: they say what they said before they were cut, and cells look where they are put."""

from functools import cache
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.metrics.image_quality import psnr_of
from lift3d.operators.catalog import build_operator, load_plugin
from lift3d.operators.split.model import SplitModel
from lift3d.scenes.catalog import read_scene
from tests.real.plugins.split_networks import Vdsr, load_weights, model_file

PLUGINS = Path(__file__).parent / "plugins"
SEGMENTERS = PLUGINS / "npz_segmentation.py"
# The classes that kitchen labels: floor, cabinet, table, chair.
LABELLED = (4, 11, 16, 20)

pytestmark = pytest.mark.real


@cache
def operator_of(name: str) -> SplitModel:
    found = load_plugin(f"{PLUGINS / ('style_transfer.py' if name == 'style_rain' else 'split_networks.py')}:{name}")
    assert isinstance(found, SplitModel)
    return found


def answer(operator, image):
    return operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(*image.shape[-2:])).values


def test_segmentation_agrees_with_the_adapter_written_by_hand(frame_of):
    image = frame_of("kitchen", 20).image
    by_hand = build_operator("mosaic", (f"{SEGMENTERS}:mosaic",))
    # That one rounds pixels to bytes and reads logits at their cells; nothing else differs.
    assert (answer(operator_of("mosaic_split"), image) == answer(by_hand, image)).float().mean() > 0.95


@pytest.mark.parametrize(("capture", "number"), [("kitchen", 20), ("bear", 75)])
def test_super_resolution_restores_more_than_bicubic(frame_of, capture, number):
    image = frame_of(capture, number).image
    shape = tuple(image.shape[-2:])
    small = functional.avg_pool2d(image[None], 2)
    plain = functional.interpolate(small, shape, mode="bicubic", align_corners=False)[0].clamp(0, 1)
    everywhere = torch.ones(shape, dtype=torch.bool)
    lifted = answer(operator_of("edsr_x2"), image)
    assert psnr_of(lifted, image, everywhere).value > psnr_of(plain, image, everywhere).value + 0.1


def test_super_resolution_of_luminance_restores_what_was_reduced_as_in_its_training(frame_of):
    image = frame_of("kitchen", 20).image
    shape = tuple(image.shape[-2:])
    # Bicubic, as that network was trained; from means of pixels it makes edges too sharp.
    small = functional.interpolate(image[None], scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)
    plain = functional.interpolate(small, shape, mode="bicubic")[0].clamp(0, 1)
    network = Vdsr()
    load_weights(network, model_file("vdsr/vdsr_y.safetensors"), ())
    with torch.no_grad():
        found = network(small)[0].clamp(0, 1)
    everywhere = torch.ones(shape, dtype=torch.bool)
    assert psnr_of(found, image, everywhere).value > psnr_of(plain, image, everywhere).value + 0.5


def test_low_light_enhancement_needs_its_image_lifted_too(frame_of):
    image = frame_of("kitchen", 20).image
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


@pytest.mark.parametrize(("name", "floor"), [("mosaic", 0.5), ("deeplabv3", 0.33)])
def test_segmentation_of_real_frames_is_plausible(test_data: Path, name: str, floor: float) -> None:
    """The mean over the four labelled classes of IoU, pooled over labelled pixels, all 32 classes allowed."""
    operator = build_operator(name, (f"{SEGMENTERS}:{name}",))
    overlap = {label: [0, 0] for label in LABELLED}
    for index in (0, 24, 48, 72, 96):
        frame = read_scene(str(test_data / "captures/kitchen")).views[index].load()
        image, truth = frame.image, frame.labels
        features = operator.encode(image)
        assert features[0].values.shape == (32, 128, 128)
        said = operator.decode(features, EMPTY_STATE, ImageSize(*image.shape[-2:])).values
        for label, counts in overlap.items():
            hit, true = (said == label) & (truth != UNKNOWN_LABEL), truth == label
            counts[0] += int((hit & true).sum())
            counts[1] += int((hit | true).sum())
    mean_iou = sum(both / either for both, either in overlap.values()) / len(overlap)
    assert floor < mean_iou < 0.9


@pytest.mark.parametrize("name", ["mosaic", "deeplabv3"])
def test_decoding_ones_own_features_is_the_plain_network(frame_of, name) -> None:
    operator = build_operator(name, (f"{SEGMENTERS}:{name}",))
    image = frame_of("kitchen", 10).image
    image = functional.interpolate(image[None], (512, 512), mode="bilinear", antialias=True)[0]
    image = (image * 255).round() / 255
    said = operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(512, 512)).values
    plain = operator._operator._graph((image * 255).round().to(torch.uint8).permute(1, 2, 0)[None])[0]
    # Only ties between two classes may be resolved differently by two ways of interpolating.
    assert float((said == plain).float().mean()) > 0.999
