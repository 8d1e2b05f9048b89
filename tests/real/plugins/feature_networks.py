"""Real networks as dense features, as a user would write them: ``--plugin PATH:alike --operator alike``.

MobileNet v2 at three depths, ALIKE, R2D2, VGG-19 up to relu3_1 and DINOv2. All take images of any size: borders are
mirrored up to what the strides divide.
"""

from collections import OrderedDict
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.domain.keys import digest_bytes
from lift3d.operators.answers import Encoder
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import load_weights, seeded
from lift3d.operators.preprocessing import Normalization, Placement
from lift3d.operators.protocol import OperatorSpec
from lift3d.operators.split.model import AS_IT_IS
from lift3d.operators.timm_models import TimmOperator, build
from tests.real.plugins.given import model_file
from tests.real.plugins.split_networks import BYTES_AROUND_0, NpzNetwork

IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PIXELS = CellLattice(stride=1, first=0.5)
# The last block of MobileNet v2 at each stride, its channels, and where its first cell looks. By kernels and
# paddings alone that is at stride − 0.5, but training made the kernels favour their earlier taps. Measured: where
# one changed pixel is felt, and which place makes features of mirrored photographs mirror images (both ±0.07 cell).
MOBILENET_BLOCKS = {
    4: ("expanded_conv_2", 24, 2.8),
    8: ("expanded_conv_5", 32, 6.0),
    16: ("expanded_conv_12", 96, 10.0),
}


class DenseFeatures(Encoder):
    """The features of a fully convolutional network, which are also its prediction."""

    def __init__(
        self,
        spec: OperatorSpec,
        network: nn.Module,
        lattice: CellLattice,
        multiple: int,
        normalization: Normalization = AS_IT_IS,
    ) -> None:
        self.spec = spec
        self._network = network.eval().requires_grad_(False)
        self._lattice = lattice
        self._multiple = multiple
        self._normalization = normalization

    def to(self, device: torch.device) -> None:
        self._network.to(device)

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        size = ImageSize(*image.shape[-2:])
        placement = Placement.of(size, size, self._lattice, self._multiple)
        pixels = self._normalization.apply(placement.apply(image.to(torch.float32)))
        with torch.no_grad():
            values = self._network(pixels[None])[0]
        return (placement.to_image(values, self._lattice),)


class UnitLength(nn.Module):
    """Scales each cell's features to length 1."""

    def forward(self, values: Float[Tensor, "1 channel row col"]) -> Float[Tensor, "1 channel row col"]:
        return functional.normalize(values, dim=1)


class AlikeBlock(nn.Module):
    """Two convolutions; all blocks but the first add a shortcut, which their weights call "downsample"."""

    def __init__(self, before: int, after: int, has_shortcut: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        self.downsample = nn.Conv2d(before, after, 1) if has_shortcut else None

    def forward(self, values: Float[Tensor, "1 before row col"]) -> Float[Tensor, "1 after row col"]:
        found = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(values)))))
        return torch.relu(found if self.downsample is None else found + self.downsample(values))


class Alike(nn.Module):
    """ALIKE-T's descriptors: four resolutions (strides 1, 2, 8, 32) joined at full resolution.

    The coarser three are enlarged corner to corner, as they were in training, so towards the border they lie up
    to half a coarse cell further out than what they show; in the middle of the image they lie exactly.

    Source:
        Zhao et al., ALIKE: Accurate and Lightweight Keypoint Detection and Descriptor Extraction, TMM 2022.
    """

    def __init__(self) -> None:
        super().__init__()
        self.block1, self.block2 = AlikeBlock(3, 8, False), AlikeBlock(8, 16, True)
        self.block3, self.block4 = AlikeBlock(16, 32, True), AlikeBlock(32, 64, True)
        self.conv1, self.conv2, self.conv3, self.conv4 = (nn.Conv2d(k, 16, 1, bias=False) for k in (8, 16, 32, 64))
        # The last of its channels is the keypoints' score.
        self.convhead2 = nn.Conv2d(64, 65, 1, bias=False)

    def forward(self, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 64 height width"]:
        size = pixels.shape[-2:]
        first = self.block1(pixels)
        second = self.block2(functional.max_pool2d(first, 2))
        third = self.block3(functional.max_pool2d(second, 4))
        fourth = self.block4(functional.max_pool2d(third, 4))
        levels = [torch.relu(self.conv1(first))]
        for conv, level in ((self.conv2, second), (self.conv3, third), (self.conv4, fourth)):
            levels.append(functional.interpolate(torch.relu(conv(level)), size, mode="bilinear", align_corners=True))
        return functional.normalize(self.convhead2(torch.cat(levels, 1))[:, :-1], dim=1)


@seeded(0)
def alike() -> DenseFeatures:
    """Build ALIKE-T's descriptors, one per pixel."""
    weights = model_file("alike/alike-t.pth")
    network = Alike()
    load_weights(network, weights)
    return DenseFeatures(_spec("alike", weights, "BSD-3-Clause", 64, PIXELS), network, PIXELS, multiple=32)


@seeded(0)
def r2d2() -> DenseFeatures:
    """Build R2D2's descriptors, one per pixel.

    Its strides were turned into dilations, so all layers keep the image's resolution.

    Source:
        Revaud et al., R2D2: Repeatable and Reliable Detector and Descriptor, NeurIPS 2019.
    """
    weights = model_file("r2d2/r2d2_WASF_N16.pt")
    # Named as in the file, where they lie two deep.
    layers = nn.Sequential(OrderedDict(module=nn.Sequential(OrderedDict(ops=_r2d2_layers()))))
    load_weights(layers, weights, may_be_left=("module.clf.", "module.sal."))
    spec = _spec("r2d2", weights, "CC-BY-NC-SA-3.0", 128, PIXELS)
    return DenseFeatures(spec, nn.Sequential(layers, UnitLength()), PIXELS, multiple=1, normalization=IMAGENET)


@seeded(0)
def vgg_r31() -> DenseFeatures:
    """Build VGG-19 up to relu3_1."""
    weights = model_file("vgg_r31/vgg_r31.pth")
    network = nn.Sequential()
    # The first layer turns colours in [0, 1] into what VGG takes.
    network.add_module("conv1", nn.Conv2d(3, 3, 1))
    for index, (before, after) in enumerate(((3, 64), (64, 64), (64, 128), (128, 128), (128, 256)), 2):
        network.add_module(f"conv{index}", nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect"))
        network.add_module(f"relu{index}", nn.ReLU())
        if index in (3, 5):
            network.add_module(f"pool{index}", nn.MaxPool2d(2))
    load_weights(network, weights)
    lattice = CellLattice(stride=4, first=2.0)
    # Two cells at least: one alone cannot be mirrored.
    return DenseFeatures(_spec("vgg_r31", weights, "unknown", 256, lattice), network, lattice, multiple=8)


def dinov2_s14(name: str = "dinov2_s14", more: str = "") -> TimmOperator:
    """Build DINOv2's ViT-S/14 by its name, which is too long for a table."""
    weights = model_file("dinov2_vits14/vit_small_patch14_dinov2_fp16.safetensors")
    operator = build(OperatorName.parse(f"timm:vit_small_patch14_dinov2?weights={weights}{more}"))
    operator.spec = replace(operator.spec, name=name)
    return operator


def dinov2_s14_448() -> TimmOperator:
    """Build the same for images enlarged to 448 rows: 32 rows of cells, whatever their size."""
    return dinov2_s14("dinov2_s14_448", "&height=448")


def _r2d2_layers() -> nn.Sequential:
    """Return seven 3×3 and three 2×2 convolutions: each stride of the plain network doubles what follows."""
    layers: list[nn.Module] = []
    dilation, before = 1, 3
    for after, doubles in ((32, False), (32, False), (64, True), (64, False), (128, True), (128, False)):
        layers += [
            nn.Conv2d(before, after, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm2d(after, affine=False),
            nn.ReLU(),
        ]
        dilation, before = dilation * (1 + doubles), after
    for index in range(3):
        # Two taps half a dilation either side: the pair is centred on its pixel.
        layers.append(nn.Conv2d(128, 128, 2, padding=dilation // 2, dilation=dilation))
        if index < 2:
            layers.append(nn.BatchNorm2d(128, affine=False))
        dilation *= 2
    return nn.Sequential(*layers)


def _spec(name: str, weights: Path, licence: str, channel_count: int, lattice: CellLattice) -> OperatorSpec:
    return OperatorSpec(
        name=name,
        stage_version=1,
        prediction_kind="embedding",
        licence=licence,
        weights_digest=digest_bytes(weights.read_bytes()),
        channel_count=channel_count,
        stride_px=float(lattice.stride),
    )


def _mobilenet(stride: int) -> DenseFeatures:
    """Build MobileNet v2 up to its last block at a stride."""
    weights = model_file("mlperf_coral/mobilenet_v2_imagenet.npz")
    block, channel_count, first = MOBILENET_BLOCKS[stride]
    lattice = CellLattice(stride, first)
    spec = _spec(f"mobilenet_s{stride}", weights, "Apache-2.0", channel_count, lattice)
    network = NpzNetwork(weights.name, last=f"MobilenetV2/{block}/add")
    return DenseFeatures(spec, network, lattice, multiple=stride, normalization=BYTES_AROUND_0)


mobilenet_s4, mobilenet_s8, mobilenet_s16 = (partial(_mobilenet, stride) for stride in MOBILENET_BLOCKS)
