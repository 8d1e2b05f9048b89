"""What checkpoints are fed with, and where the cells of networks lie that are not what they seem."""

import json
from functools import partial
from types import SimpleNamespace

import open_clip
import pytest
import torch
from torch import nn

from lift3d.domain.camera import ImageSize
from lift3d.errors import ConfigError, ContractError
from lift3d.operators.catalog import build_operator
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.names import OperatorName
from lift3d.operators.open_clip_models import _normalization
from lift3d.operators.preprocessing import Normalization, Placement
from lift3d.operators.split.model import SplitModel
from lift3d.operators.transformers.weights import Source

outside = partial(pytest.mark.outside, kind="4 numbers that are wrong without a word")
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
ODD = {"image_mean": list(MEAN), "image_std": list(STD)}
UNUSUAL = Normalization(MEAN, STD)
HALF = Normalization((0.5,) * 3, (0.5,) * 3)
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AS_IT_IS = Normalization((0.0,) * 3, (1.0,) * 3)


# By what it shows: the kind of model, what its image processor says, and the right normalisation.
PROCESSORS = {
    "nested ViT": ("clipseg", {"image_processor_type": "ViTImageProcessor", **ODD}, UNUSUAL),
    "nested SAM": ("sam", {"image_processor_type": "SamImageProcessor", **ODD}, UNUSUAL),
    "no do_normalize: ViT": ("dpt", {"image_processor_type": "ViTImageProcessor"}, HALF),
    "no do_normalize: DPT": ("dpt", {"image_processor_type": "DPTImageProcessor"}, HALF),
    "no do_normalize: Segformer": ("segformer", {"image_processor_type": "SegformerImageProcessor"}, IMAGENET),
    "no do_normalize: MobileViT": ("segformer", {"image_processor_type": "MobileViTImageProcessor"}, AS_IT_IS),
    "rescaled otherwise": (
        "dpt",
        {"image_processor_type": "ViTImageProcessor", "do_normalize": False, "rescale_factor": 1 / 127.5},
        Normalization((0.0,) * 3, (0.5,) * 3),
    ),
    "nested, without images": ("dpt", {}, IMAGENET),
}


@outside(case="preprocessing of a checkpoint of transformers", right="what transformers itself makes of its files")
@pytest.mark.parametrize("what", PROCESSORS)
def test_processors(tmp_path, what):
    kind, says, right = PROCESSORS[what]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    if "nested" in what:
        content = {"processor_class": "X"} | ({"image_processor": says} if says else {})
        (tmp_path / "processor_config.json").write_text(json.dumps(content))
    else:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(says))
    found = Source(OperatorName.parse(f"transformers:{tmp_path}"), None, tmp_path).preprocessing()
    assert [*found.normalization.mean, *found.normalization.std] == pytest.approx([*right.mean, *right.std], abs=1e-6)
    assert found.is_blue_first == ("MobileViT" in what)


@outside(case="colours of a processor that does more than scale them", right="refused, with its reason")
def test_a_processor_that_greys_is_refused(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "SuperPointImageProcessor", "do_grayscale": True})
    )
    with pytest.raises(ConfigError, match="its image processor does not read: it mixes colours"):
        Source(OperatorName.parse(f"transformers:{tmp_path}"), None, tmp_path).preprocessing()


def clip_normalization(name: str) -> Normalization:
    config = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    model = SimpleNamespace(visual=SimpleNamespace(preprocess_cfg=config))
    return _normalization(OperatorName.parse(name), model)


@outside(case="normalisation of open_clip weights from a file", right="that of the model's tags")
@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("open_clip:MobileCLIP2-S0?weights=w.pt", AS_IT_IS),
        ("open_clip:MobileCLIP-S1?weights=w.pt", AS_IT_IS),
        ("open_clip:MobileCLIP-S1/datacompdr", AS_IT_IS),
        ("open_clip:ViT-B-16-SigLIP?weights=w.pt", HALF),
        ("open_clip:ViT-L-14?weights=w.pt&like=laion2b_s32b_b82k", HALF),
        ("open_clip:RN50?weights=w.pt", Normalization(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)),
    ],
)
def test_normalisation_of_a_file(name, right):
    assert clip_normalization(name) == right


@outside(case="open_clip weights from a file, of a model with several normalisations", right="asked for, not guessed")
def test_a_normalisation_that_nothing_tells_is_asked_for(tmp_path):
    with pytest.raises(ConfigError, match="like=TAG, one of openai"):
        clip_normalization("open_clip:ViT-L-14?weights=w.pt")
    with pytest.raises(ConfigError, match="ViT-L-14"):
        clip_normalization("open_clip:ViT-L-14?weights=w.pt&like=none")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": {"mean": MEAN, "std": STD}}))
    assert clip_normalization(f"open_clip:ViT-L-14?weights={tmp_path}/w.pt") == UNUSUAL


class Resizing(nn.Module):
    """A network that scales its input to one size inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 16, 16)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.interpolate(pixels, (224, 224), mode="bicubic"))


NETWORKS = {
    "crossvit_tiny_240": partial(build_operator, "timm:crossvit_tiny_240?weights=random"),
    "crossvit_tiny_240, coarse branch": partial(build_operator, "timm:crossvit_tiny_240?weights=random&layer=5"),
    "a module that resizes": lambda: SplitModel(Resizing(), ("conv",)),
    "test_vit": partial(build_operator, "timm:test_vit?weights=random"),
}


@outside(case="networks that resize inside", right="the grid spans the image, or it is refused")
@pytest.mark.parametrize("network", NETWORKS)
def test_grids_span_the_image(record_property, network):
    size = ImageSize(96, 160)
    try:
        grid = NETWORKS[network]().encode(torch.rand(3, size.height, size.width))[0].grid
    except (ConfigError, ContractError) as error:
        record_property("got", f"{network}: refused, {str(error)[:80]}")
        return
    right, bottom = grid.origin_u + grid.cols * grid.stride_u, grid.origin_v + grid.rows * grid.stride_v
    record_property("got", f"{network}: {grid.rows}×{grid.cols} cells to {right:.1f}, {bottom:.1f}")
    assert (right, bottom) == pytest.approx((size.width, size.height), abs=2)
    assert (grid.origin_u, grid.origin_v) == pytest.approx((0, 0), abs=2)


@outside(case="networks that resize inside", right="the grid spans the image, or it is refused")
@pytest.mark.parametrize("rows", [5, 8, 14])
def test_cells_that_do_not_span_the_input_are_refused(rows):
    placement = Placement.of(ImageSize(160, 160), ImageSize(160, 160), CellLattice(16, 8.0), 16)
    with pytest.raises(ContractError, match="resizes inside"):
        placement.to_image(torch.zeros(2, rows, 10), CellLattice(16, 8.0))
    assert placement.to_image(torch.zeros(2, 10, 10), CellLattice(16, 8.0)).grid.rows == 10
