"""Real style-transfer networks as plug-ins: ``--plugin PATH:faststyle_wave --operator faststyle_wave``.

What is lifted lies between encoder and painter, so views agree before they are painted.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

import lift3d
from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import digest_bytes
from lift3d.domain.lifted import Prediction
from lift3d.operators.answers import Unfitted, valid_everywhere
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.network_weights import read_weights
from lift3d.operators.preprocessing import Normalization, Placement
from lift3d.operators.protocol import Operator, OperatorSpec
from tests.real.plugins.given import model_file

STYLES = {
    "faststyle_wave": "faststyle/faststyle_wave_fp16.safetensors",
    "faststyle_udnie": "faststyle/faststyle_udnie_fp16.safetensors",
    "faststyle_rain": "faststyle/faststyle_rain_princess_fp16.safetensors",
}
# By kernels and paddings alone the first cell is at 3.5: TensorFlow pads an even length after its end only, so each
# convolution of stride 2 is centred on every second pixel. Measured, over the three styles: encoders look at 3.2
# down the image and 2.7 across it, decoders paint a cell at 3.2 and 3.0 (each ±0.2).
LATTICE = CellLattice(stride=4, first=3.0)


class FastStyle(nn.Module):
    """Three convolutions and five residual blocks, ``bottleneck``, then two up-convolutions and a last convolution.

    Each is normalised over the image, per channel, with a scale and a shift.

    Source:
        Johnson, Alahi & Fei-Fei, Perceptual Losses for Real-Time Style Transfer and Super-Resolution, ECCV 2016.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        entries = read_weights(model_file(STYLES[name]))
        # Per layer: kernel (height, width, before, after; of an up-convolution after comes first), shift, scale.
        for index in range(16):
            kernel, shift, scale = (entries[f"v{3 * index + part}"].float() for part in range(3))
            self.register_buffer(f"kernel{index}", kernel.permute(3, 2, 0, 1).contiguous())
            self.register_buffer(f"shift{index}", shift)
            self.register_buffer(f"scale{index}", scale)
        self.bottleneck = nn.Identity()

    def forward(self, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
        return self.painted(self.bottleneck(self.encoded(pixels)))

    def encoded(self, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 128 row col"]:
        """Return the output of the residual blocks."""
        values = pixels
        for index, stride in enumerate((1, 2, 2)):
            values = torch.relu(self._convolved(values, index, stride))
        for index in range(3, 13, 2):
            values = values + self._convolved(torch.relu(self._convolved(values, index)), index + 1)
        return values

    def painted(self, values: Float[Tensor, "1 128 row col"]) -> Float[Tensor, "1 3 height width"]:
        """Paint the output of the residual blocks."""
        for index in (13, 14):
            full = functional.conv_transpose2d(values, self.get_buffer(f"kernel{index}"), stride=2)
            values = torch.relu(self._normalized(full[..., :-1, :-1], index))
        return torch.tanh(self._convolved(values, 15)) * 150 + 127.5

    def _convolved(self, values: Tensor, index: int, stride: int = 1) -> Tensor:
        kernel = self.get_buffer(f"kernel{index}")
        padding = kernel.shape[-1] - stride
        before, after = padding // 2, padding - padding // 2
        padded = functional.pad(values, (before, after, before, after))
        return self._normalized(functional.conv2d(padded, kernel, stride=stride), index)

    def _normalized(self, values: Tensor, index: int) -> Tensor:
        variance, mean = torch.var_mean(values, dim=(2, 3), correction=0, keepdim=True)
        unit = (values - mean) / (variance + 1e-3).sqrt()
        scale, shift = self.get_buffer(f"scale{index}"), self.get_buffer(f"shift{index}")
        return unit * scale[:, None, None] + shift[:, None, None]


class StyleTransfer(Unfitted):
    """An image repainted in one style."""

    def __init__(self, name: str) -> None:
        self._network = FastStyle(name)
        self.spec = OperatorSpec(
            name=name,
            stage_version=1,
            prediction_kind="image",
            licence="MIT",
            weights_digest=digest_bytes(model_file(STYLES[name]).read_bytes()),
            channel_count=128,
            stride_px=float(LATTICE.stride),
        )

    def to(self, device: torch.device) -> None:
        self._network.to(device)

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        placement = _placement(ImageSize(*image.shape[-2:]))
        values = self._network.encoded(placement.apply(image.to(torch.float32))[None] * 255)
        return (placement.to_image(values[0], LATTICE),)

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        placement = _placement(size)
        painted = self._network.painted(features[0].values[None])
        inside = painted[0, :, placement.top :, placement.left :] / 255
        return Prediction("image", inside.clamp(0, 1), valid_everywhere(size))


def _placement(image: ImageSize) -> Placement:
    """Return where an image lies: completed to whole cells by up to three mirrored pixels above and before it.

    There, and not below and behind, because cells sit late in their blocks: so every cell is centred on the image.
    """
    top, left = -image.height % LATTICE.stride, -image.width % LATTICE.stride
    return Placement(image, image, top, left, ImageSize(image.height + top, image.width + left))


faststyle_wave, faststyle_udnie, faststyle_rain = (partial(StyleTransfer, name) for name in STYLES)


def style_rain() -> Operator:
    """The same made an operator by one call: where its cells sit is found by lift3d."""
    to_255 = Normalization((0.0,) * 3, (1 / 255,) * 3)
    return lift3d.operator(
        FastStyle("faststyle_rain"), ("bottleneck",), name="style_rain", prediction="image", normalization=to_255,
        finish=lambda painted: painted / 255,
    )  # fmt: skip
