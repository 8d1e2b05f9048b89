"""Real style-transfer networks as plug-ins: ``--plugin PATH:faststyle_wave --operator faststyle_wave``.

Three convolutions and five residual blocks encode (128 channels, stride 4); two up-convolutions and a last
convolution paint. What is lifted lies between them, so views agree before they are painted. The weights are
found through LIFT3D_TEST_DATA.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureMap, SceneState
from lift3d.domain.keys import ViewId, digest_bytes
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError, ShapeError
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.network_weights import encoder_device, read_weights
from lift3d.operators.preprocessing import Placement
from lift3d.operators.protocol import OperatorSpec

LAYER_COUNT = 16
# Three convolutions, then five pairs, then two up-convolutions and the last one.
FIRST_PAIR, FIRST_UP, LAST = 3, 13, 15
# By kernels and paddings alone the first cell is at 3.5: TensorFlow pads an even length after its end only, so each
# convolution of stride 2 is centred on every second pixel. Measured, over the three styles: encoders look at 3.2
# down the image and 2.7 across it, decoders paint a cell at 3.2 and 3.0 (each ±0.2).
LATTICE = CellLattice(stride=4, first=3.0)
# What keeps the division by the deviation finite, in training and here.
_EPSILON = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class StyleLayer:
    """A convolution without bias whose every channel is then normalised over the image, scaled and shifted."""

    kernel: Float[Tensor, "height width before after"]
    shift: Float[Tensor, " channel"]
    scale: Float[Tensor, " channel"]

    def convolve(self, values: Float[Tensor, "1 before row col"], stride: int = 1) -> Float[Tensor, "1 after r c"]:
        """Return the layer's output; rows and columns are multiples of the stride."""
        padding = self.kernel.shape[0] - stride
        before, after = padding // 2, padding - padding // 2
        padded = functional.pad(values, (before, after, before, after))
        return self._normalized(functional.conv2d(padded, self.kernel.permute(3, 2, 0, 1), stride=stride))

    def enlarge(self, values: Float[Tensor, "1 before row col"]) -> Float[Tensor, "1 after r c"]:
        """Return the layer's output at twice the resolution: the transpose of a convolution of stride 2."""
        # An up-convolution's kernel names its output channels first.
        full = functional.conv_transpose2d(values, self.kernel.permute(3, 2, 0, 1), stride=2)
        return self._normalized(full[..., :-1, :-1])

    def _normalized(self, values: Float[Tensor, "1 channel row col"]) -> Float[Tensor, "1 channel row col"]:
        variance, mean = torch.var_mean(values, dim=(2, 3), correction=0, keepdim=True)
        unit = (values - mean) / (variance + _EPSILON).sqrt()
        return unit * self.scale[:, None, None] + self.shift[:, None, None]


class StyleTransfer:
    """An image repainted in one style.

    Source:
        Johnson, Alahi & Fei-Fei, Perceptual Losses for Real-Time Style Transfer and Super-Resolution, ECCV 2016.
    """

    def __init__(self, name: str, weights: Path) -> None:
        self._device = encoder_device()
        self._layers = _read_layers(weights, self._device)
        self.spec = OperatorSpec(
            name=name,
            stage_version=1,
            prediction_kind="image",
            licence="MIT",
            weights_digest=digest_bytes(weights.read_bytes()),
            channel_count=int(self._layers[FIRST_UP].kernel.shape[3]),
            stride_px=float(LATTICE.stride),
        )

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the output of the residual blocks."""
        placement = _placement(ImageSize(*image.shape[-2:]))
        values = placement.apply(image.to(torch.float32))[None].to(self._device) * 255
        for layer, stride in zip(self._layers[:FIRST_PAIR], (1, 2, 2), strict=True):
            values = torch.relu(layer.convolve(values, stride))
        pairs = self._layers[FIRST_PAIR:FIRST_UP]
        for first, second in zip(pairs[::2], pairs[1::2], strict=True):
            values = values + second.convolve(torch.relu(first.convolve(values)))
        return (placement.to_image(values[0].cpu(), LATTICE),)

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the empty state."""
        return EMPTY_STATE

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the painted image.

        Raises:
            ShapeError: If the features are not those of an image of this size.
        """
        placement, grid = _placement(size), features[0].grid
        wanted = (placement.padded.height // LATTICE.stride, placement.padded.width // LATTICE.stride)
        if (grid.rows, grid.cols) != wanted:
            raise ShapeError(
                f"Operator '{self.spec.name}' got {grid.rows}×{grid.cols} cells for an image of "
                f"{size.height}×{size.width}; expected {wanted[0]}×{wanted[1]}. Give the grid of encode."
            )
        values = features[0].values[None].to(self._device)
        for layer in self._layers[FIRST_UP:LAST]:
            values = torch.relu(layer.enlarge(values))
        painted = torch.tanh(self._layers[LAST].convolve(values)) * 150 + 127.5
        inside = painted[0, :, placement.top :, placement.left :].cpu() / 255
        return Prediction("image", inside.clamp(0, 1), torch.ones(size.height, size.width, dtype=torch.bool))


def faststyle_wave() -> StyleTransfer:
    """Build the style of Hokusai's Great Wave."""
    return _faststyle("faststyle_wave", "faststyle_wave_fp16.safetensors")


def faststyle_udnie() -> StyleTransfer:
    """Build the style of Picabia's Udnie."""
    return _faststyle("faststyle_udnie", "faststyle_udnie_fp16.safetensors")


def faststyle_rain() -> StyleTransfer:
    """Build the style of Afremov's Rain Princess."""
    return _faststyle("faststyle_rain", "faststyle_rain_princess_fp16.safetensors")


def _faststyle(name: str, file_name: str) -> StyleTransfer:
    root = os.environ.get("LIFT3D_TEST_DATA")
    if not root:
        raise ConfigError("LIFT3D_TEST_DATA is not set; it must name the folder with models/.")
    return StyleTransfer(name, Path(root) / "models" / "faststyle" / file_name)


def _placement(image: ImageSize) -> Placement:
    """Return where an image lies: completed to whole cells by up to three mirrored pixels above and before it.

    There, and not below and behind, because cells sit late in their blocks: so every cell is centred on the image.
    """
    top, left = -image.height % LATTICE.stride, -image.width % LATTICE.stride
    return Placement(image, image, top, left, ImageSize(image.height + top, image.width + left))


def _read_layers(path: Path, device: torch.device) -> tuple[StyleLayer, ...]:
    """Read the layers: entry v0 is the first one's kernel, v1 its shift, v2 its scale, v3 the second's kernel, …"""
    entries = read_weights(path)
    wanted = [f"v{index}" for index in range(3 * LAYER_COUNT)]
    if sorted(entries) != sorted(wanted):
        raise ConfigError(
            f"Weights file '{path}' has {len(entries)} entries; expected {len(wanted)}, v0 to {wanted[-1]}."
        )
    values = [entries[name].to(device, torch.float32) for name in wanted]
    return tuple(StyleLayer(*values[start : start + 3]) for start in range(0, len(values), 3))
