"""Models of libraries, none of which lift3d knows: how each is made and cut, and where its cells are known to sit."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lift3d.operators.transformers.weights import BUILT_IN, library
from lift3d.torchvision_guard import ensure_torchvision

ensure_torchvision()
import open_clip  # noqa: E402  (torchvision must be importable first)
import timm  # noqa: E402


@dataclass(frozen=True)
class Case:
    """One model, with random weights: where it is cut, and the settings of the one call.

    Lattices are, per cut, pixels per cell and the first cell's centre, by the arithmetic of kernels and paddings; none
    where a cell looks everywhere, or by paths that are shifted against each other. The side is a size that the whole
    model takes, if it is not the one that it was probed at.
    """

    make: Callable[[], nn.Module]
    cuts: tuple[str, ...]
    lattices: tuple[tuple[float, float], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    side: int = 0


def of_timm(name: str, cut: str, stride: int, first: float, side: int = 0, **options: Any) -> Case:
    return Case(lambda: timm.create_model(name, pretrained=False, **options), (cut,), ((stride, first),), side=side)


_SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2}
TIMM = {
    # Windows of odd length, each centred on the first pixel: nothing moves it.
    "resnet18": of_timm("resnet18", "layer3", 16, 0.5, zero_init_last=False),
    "mobilenetv3_small_050": of_timm("mobilenetv3_small_050", "blocks.4", 32, 0.5),
    "tinynet_e": of_timm("tinynet_e", "blocks.4", 16, 0.5),
    "regnetx_002": of_timm("regnetx_002", "s3", 16, 0.5),
    "fastvit_t8": of_timm("fastvit_t8", "stages.2", 16, 0.5),
    # Patches that tile the image.
    "convnext_atto": of_timm("convnext_atto", "stages.2", 16, 8),
    "test_vit": of_timm("test_vit", "blocks.1", 16, 8),
    "swin": of_timm(
        "swin_tiny_patch4_window7_224", "layers.2", 16, 8, embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4)
    ),
    # A window of 3 twice as far apart, then averages of 2 twice: (2 - 1) / 2 · 2 and · 4.
    "coatnet": of_timm("coatnet_nano_rw_224", "stages.1", 8, 3.5, side=224),
    "deit_distilled": of_timm("deit_tiny_distilled_patch16_224", "blocks.1", 16, 8, img_size=64, **_SMALL),
    "dinov2_registers": of_timm("vit_small_patch14_reg4_dinov2", "blocks.1", 14, 7, img_size=224, **_SMALL),
}
_TEXT = {"vocab_size": 64, "width": 32, "heads": 2, "layers": 1, "context_length": 8}


def of_open_clip(cut: str, first: float, stride: int, **tower: Any) -> Case:
    return Case(lambda: open_clip.CLIP(32, tower, _TEXT).visual, (cut,), ((stride, first),))


OPEN_CLIP = {
    "clip_vit": of_open_clip("transformer.resblocks.1", 4, 8, image_size=32, layers=2, width=64, patch_size=8),
    # Averages of 2 after strides 2, 4 and 8: half a cell of each further, from the first pixel.
    "clip_resnet": of_open_clip("layer3", 7.5, 16, image_size=64, layers=(1, 1, 1, 1), width=16, head_width=16),
    "clip_convnext": of_open_clip(
        "trunk.stages.2", 8, 16, image_size=64, timm_model_name="convnext_atto", timm_pool="", timm_proj="linear"
    ),
}


def of_transformers(kind: str, cuts: Sequence[str], *lattices: tuple[float, float], **settings: Any) -> Case:
    def make() -> nn.Module:
        transformers = library()
        config = transformers.CONFIG_MAPPING[kind].from_dict(json.loads(BUILT_IN[kind].read_text()))
        model = getattr(transformers, config.architectures[0])(config)
        return model.vision_encoder if kind == "sam" else model

    return Case(make, tuple(cuts), lattices, settings)


_WORDS = torch.tensor([[256, 99, 117, 112, 257]])
TRANSFORMERS = {
    "segformer": of_transformers(
        "segformer", [f"segformer.stages.{index}.layer_norm" for index in range(4)], (4, 0.5), (8, 0.5), (16, 0.5),
        (32, 0.5), prediction="labels", output="logits",
    ),
    "dpt": of_transformers(
        "dpt", [f"dpt.encoder.layer.{index}" for index in range(4)], *[(16, 8)] * 4, prediction="scalar",
        output="predicted_depth", input_size=(64, 64),
    ),
    "depth_anything": of_transformers(
        "depth_anything", [f"backbone.layernorm@{index}" for index in range(4)], *[(14, 7)] * 4, prediction="scalar",
        output="predicted_depth",
    ),
    "swin2sr": of_transformers(
        "swin2sr", ["swin2sr:last_hidden_state"], (1, 0.5), prediction="image", output="reconstruction", enlarges=2
    ),
    "sam": of_transformers("sam", ["neck"], (8, 4)),
    "clipseg": of_transformers(
        "clipseg", ["decoder.layers.2"], (8, 4), prediction="scalar", output="logits", input_size=(64, 64),
        call=lambda model, pixels: model(input_ids=_WORDS, pixel_values=pixels),
    ),
    "mask2former": of_transformers("mask2former", ["output:masks_queries_logits"], (4, 2), prediction="masks",
        output="masks_queries_logits",
    ),
}  # fmt: skip


class UNet(nn.Module):
    """Halvings by averages, with skips on the way up."""

    def __init__(self) -> None:
        super().__init__()
        self.full, self.middle = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.quarter, self.up = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(20, 8, 3, padding=1)
        self.last = nn.Conv2d(14, 3, 1)

    def forward(self, pixels):
        full = functional.leaky_relu_(self.full(pixels))
        middle = functional.leaky_relu_(self.middle(functional.avg_pool2d(full, 2)))
        found = functional.leaky_relu_(self.quarter(functional.avg_pool2d(middle, 2)))
        found = self.up(torch.cat([functional.interpolate(found, scale_factor=2), middle], 1))
        return self.last(torch.cat([functional.interpolate(found, scale_factor=2), full], 1)).sigmoid()


class ClassTokens(nn.Module):
    """Patches of 8, behind a class token and a distillation token that the answer reads, too."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.block = nn.Conv2d(3, 16, 8, 8), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.extra, self.head = nn.Parameter(torch.randn(1, 2, 16)), nn.Linear(16, 5)

    def forward(self, pixels):
        cells = self.patch(pixels)
        tokens = self.block(torch.cat([self.extra.expand(len(cells), -1, -1), cells.flatten(2).mT], 1))
        scores = self.head(tokens[:, 2:] * tokens[:, :1] + tokens[:, 1:2])
        return scores.mT.unflatten(2, cells.shape[2:])


class ChannelsLast(nn.Module):
    """A graph of channels last, as converted from another framework; strides without padding before."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.first, self.second = nn.Identity(), nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 4, 3, 2)

    def forward(self, pixels):
        # Padding "SAME": one pixel after, none before.
        cells = self.first(functional.pad(pixels, (0, 1, 0, 1))).tanh().permute(0, 2, 3, 1)
        cells = self.inner(cells).permute(0, 3, 1, 2)
        return {"scores": self.second(functional.pad(cells, (0, 1, 0, 1))).permute(0, 2, 3, 1)}


class OddStrides(nn.Module):
    """Windows of 3 apart by 3, padded by 1."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, 3, 1), nn.Conv2d(8, 2, 3, 3, 1)

    def forward(self, pixels):
        return self.two(self.one(pixels).tanh())


class BlackBox(nn.Module):
    """No submodule to cut at, and no gradient."""

    def forward(self, pixels):
        with torch.no_grad():
            return (pixels - functional.avg_pool2d(pixels, 5, 1, 2, count_include_pad=False)).abs().mean(1)


class Residual(nn.Module):
    """A correction of the image itself: a global residual."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.tail = nn.Conv2d(3, 4, 5, padding=2), nn.Conv2d(4, 3, 1)

    def forward(self, pixels):
        return pixels + self.tail(self.body(pixels).tanh())


def mirrored(kind: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Make a module whose kernels are their own mirror images, so that only arithmetic says where a cell looks."""

    def make() -> nn.Module:
        model = kind()
        for parameter in model.parameters():
            if parameter.ndim == 4:
                flipped = parameter.data.flip(-1) + parameter.data
                parameter.data = (flipped + flipped.flip(-2)) / 4
        return model

    return make


MADE_UP = {
    "unet": Case(
        mirrored(UNet), ("quarter", "middle", "full"), ((4, 2), (2, 1), (1, 0.5)), {"prediction": "image"},
    ),
    "class_tokens": Case(mirrored(ClassTokens), ("block",), ((8, 4),), {"prediction": "labels"}),
    # Windows of 3 without padding are centred on the second pixel: 1.5, then two pixels further.
    "channels_last": Case(
        mirrored(ChannelsLast), ("inner",), ((2, 1.5),), {"prediction": "labels", "output": "scores"}
    ),
    # Windows centred on the first pixel.
    "odd_strides": Case(mirrored(OddStrides), ("two", "one"), ((9, 0.5), (3, 0.5)), {"prediction": "masks"}),
    "black_box": Case(BlackBox, ("output",), ((1, 0.5),), {"prediction": "scalar"}),
    "residual": Case(Residual, ("body", "input"), ((1, 0.5), (1, 0.5)), {"prediction": "image"}),
}  # fmt: skip
ZOO = {**TIMM, **OPEN_CLIP, **TRANSFORMERS, **MADE_UP}
