"""The layers of PatchmatchNet: features of an image, refinement of depth, and what both and the stages are made of.

Source:
    Wang, Galliani, Vogel, Speciale & Pollefeys, PatchmatchNet: Learned Multi-View Patchmatch Stereo, CVPR 2021.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.scene import DepthRange

# Kernel and offsets of one layer; batch normalisation is folded in.
Layers = Mapping[str, tuple[Tensor, Tensor | None]]

_NORM_EPSILON = 1e-5


def folded(state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Return kernels and offsets by layer; every normalisation is folded into the layer before it."""
    layers: dict[str, tuple[Tensor, Tensor | None]] = {}
    for key, kernel in state.items():
        if not key.endswith(".weight") or kernel.ndim < 2:
            continue
        layer = key.removesuffix(".weight")
        if kernel.ndim == 5:
            kernel = kernel[..., 0, 0, 0]
        norm = f"{layer.rpartition('.')[0]}.bn"
        if layer.endswith((".conv", ".deconv")):
            gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _NORM_EPSILON).sqrt()
            is_output = 1 if layer.endswith(".deconv") else 0
            shape = [-1 if axis == is_output else 1 for axis in range(kernel.ndim)]
            offset = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
            layers[layer.removesuffix(".conv")] = (kernel * gain.reshape(shape), offset)
        else:
            layers[layer] = (kernel, state.get(f"{layer}.bias"))
    return layers


def pyramid(layers: Layers, image: Float[Tensor, "3 height width"]) -> dict[int, Float[Tensor, "channel _ _"]]:
    """Return features by stage; the cell (r, c) of stride s looks at the pixel (s·r, s·c)."""
    x, skips = image, []
    for number in range(11):
        is_coarser = number in (2, 5, 8)
        if is_coarser:
            skips.append(x)
        x = F.relu(convolve(layers, f"feature.conv{number}", x, stride=2 if is_coarser else 1))
    outputs = {3: convolve(layers, "feature.output1", x)}
    for stage, skip in ((2, skips[2]), (1, skips[1])):
        x = _doubled(x, "bilinear") + convolve(layers, f"feature.inner{3 - stage}", skip)
        outputs[stage] = convolve(layers, f"feature.output{4 - stage}", x)
    return outputs


def refined(
    layers: Layers, image: Float[Tensor, "3 height width"], z: Float[Tensor, "row col"], depth_range: DepthRange
) -> Float[Tensor, "height width"]:
    """Return z-depth at twice the size, corrected by what the image shows."""
    near, span = depth_range.near, depth_range.far - depth_range.near
    share = ((z - near) / span)[None]
    of_image = F.relu(convolve(layers, "upsample_net.conv0", image))
    of_depth = share
    for name in ("conv1", "conv2"):
        of_depth = F.relu(convolve(layers, f"upsample_net.{name}", of_depth))
    kernel, offset = layers["upsample_net.deconv"]
    larger = F.conv_transpose2d(of_depth[None], kernel, offset, stride=2, padding=1, output_padding=1)[0]
    both = F.relu(convolve(layers, "upsample_net.conv3", torch.cat([F.relu(larger), of_image])))
    correction = convolve(layers, "upsample_net.res", both)
    return ((_doubled(share, "nearest") + correction) * span + near)[0]


def convolve(layers: Layers, name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Run one convolution with its offsets; without a stride the size stays."""
    kernel, offset = layers[name]
    padding = dilation * (kernel.shape[-1] // 2)
    return F.conv2d(x[None], kernel, offset, stride=stride, padding=padding, dilation=dilation)[0]


def pointwise(layers: Layers, name: str, x: Float[Tensor, "group item row col"]) -> Float[Tensor, "item row col"]:
    """Return one number per place: three layers that look at nothing beside it."""
    last = f"{name}.similarity" if f"{name}.similarity" in layers else f"{name}.conv2"
    flat = x.flatten(1)
    for layer in (f"{name}.conv0", f"{name}.conv1", last):
        kernel, offset = layers[layer]
        flat = torch.addmm(offset[:, None], kernel, flat) if offset is not None else kernel @ flat
        if layer != last:
            flat = flat.relu_()
    return flat[0].reshape(x.shape[1:])


def _doubled(x: Tensor, mode: str) -> Tensor:
    return F.interpolate(x[None], scale_factor=2.0, mode=mode)[0]
