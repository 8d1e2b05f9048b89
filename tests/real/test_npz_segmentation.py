"""The segmentation plug-ins on real photographs: they say what the networks say, and it is mostly right."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE
from lift3d.operators.catalog import build_operator

PLUGINS = Path(__file__).parent / "plugins" / "npz_segmentation.py"
# The classes that kitchen labels: floor, cabinet, table, chair.
LABELLED = (4, 11, 16, 20)
IGNORED = 255

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("LIFT3D_TEST_DATA"), reason="LIFT3D_TEST_DATA is not set"),
]


def kitchen_frame(index: int) -> tuple[torch.Tensor, torch.Tensor]:
    folder = Path(os.environ["LIFT3D_TEST_DATA"]) / "captures" / "kitchen"
    name = sorted(path.stem for path in (folder / "images").iterdir())[index]
    image = np.asarray(Image.open(folder / "images" / f"{name}.jpg").convert("RGB"), dtype=np.float32) / 255
    labels = np.asarray(Image.open(folder / "labels" / f"{name}.png"), dtype=np.int64)
    return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels)


@pytest.mark.parametrize(("name", "floor"), [("mosaic", 0.5), ("deeplabv3", 0.33)])
def test_segmentation_of_real_frames_is_plausible(name: str, floor: float) -> None:
    """The mean over the four labelled classes of IoU, pooled over labelled pixels, all 32 classes allowed."""
    operator = build_operator(name, (f"{PLUGINS}:{name}",))
    overlap = {label: [0, 0] for label in LABELLED}
    for index in (0, 24, 48, 72, 96):
        image, truth = kitchen_frame(index)
        features = operator.encode(image)
        assert features[0].values.shape == (32, 128, 128)
        said = operator.decode(features, EMPTY_STATE, ImageSize(*image.shape[-2:])).values
        for label, counts in overlap.items():
            hit, true = (said == label) & (truth != IGNORED), truth == label
            counts[0] += int((hit & true).sum())
            counts[1] += int((hit | true).sum())
    mean_iou = sum(both / either for both, either in overlap.values()) / len(overlap)
    assert floor < mean_iou < 0.9


@pytest.mark.parametrize("name", ["mosaic", "deeplabv3"])
def test_decoding_ones_own_features_is_the_plain_network(name: str) -> None:
    operator = build_operator(name, (f"{PLUGINS}:{name}",))
    image, _ = kitchen_frame(10)
    image = torch.nn.functional.interpolate(image[None], (512, 512), mode="bilinear", antialias=True)[0]
    image = (image * 255).round() / 255
    said = operator.decode(operator.encode(image), EMPTY_STATE, ImageSize(512, 512)).values
    plain = operator._operator._graph((image * 255).round().to(torch.uint8).permute(1, 2, 0)[None])[0]
    # Only ties between two classes may be resolved differently by two ways of interpolating.
    assert float((said == plain).float().mean()) > 0.999
