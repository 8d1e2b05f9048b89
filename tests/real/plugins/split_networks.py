"""Real networks as plain torch modules, made operators by one call: ``--plugin PATH:edsr_x2 --operator edsr_x2``.

Only the loading is written here; where their cells sit and that nothing passes the cuts is found by lift3d.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

import lift3d
from lift3d.operators.network_weights import load_weights
from lift3d.operators.preprocessing import Normalization
from lift3d.operators.protocol import Operator
from tests.real.plugins.given import model_file, npz_graph

TO_255 = Normalization((0.0,) * 3, (1 / 255,) * 3)
# MobileNet's own quantisation of its input: (byte − 128) / 128.
BYTES_AROUND_0 = Normalization((128 / 255,) * 3, (128 / 255,) * 3)


class NpzNetwork(nn.Module):
    """A graph of an .npz file up to one of its operations or tensors; ``at_N`` is a submodule at tensor N."""

    def __init__(self, file_name: str, places: Sequence[int] = (), last: int | str | None = None) -> None:
        super().__init__()
        self._graph = npz_graph(model_file(f"mlperf_coral/{file_name}"))
        if isinstance(last, str):
            last = [self._graph.T[outputs[0]]["name"] for _, _, outputs, _ in self._graph.ops].index(last)
        self._ops = self._graph.ops if last is None else self._graph.ops[: last + 1]
        self._run = type(self._graph).__call__.__wrapped__  # Without no_grad, so that cells can be probed.
        for place in places:
            self.add_module(f"at_{place}", nn.Identity())
        for index, constant in self._graph.const.items():
            self.register_buffer(f"constant{index}", constant)

    def forward(self, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 channel row col"]:
        held, graph = dict(self._graph.const), self._graph
        value = pixels.permute(0, 2, 3, 1)
        try:
            for op in self._ops:
                graph.const, graph.ops = held, [op]
                self._run(graph, value)
                made = op[2][0]
                held = dict(graph.acts)
                if f"at_{made}" in self._modules:
                    held[made] = self.get_submodule(f"at_{made}")(held[made])
                value = held[graph.inp[0]]
        finally:
            graph.const, graph.ops = {k: v for k, v in self._graph.const.items() if graph.T[k]["const"]}, self._ops
        found: Tensor = held[self._ops[-1][2][0]]
        return found.permute(0, 3, 1, 2)


class ZeroDce(nn.Module):
    """Seven convolutions give eight curves per pixel, which are applied to the image one after the other.

    Source:
        Guo et al., Zero-Reference Deep Curve Estimation for Low-Light Image Enhancement, CVPR 2020, eq. 3.
    """

    def __init__(self) -> None:
        super().__init__()
        for index, (before, after) in enumerate([(3, 32), *[(32, 32)] * 3, (64, 32), (64, 32), (64, 24)], start=1):
            self.add_module(f"e_conv{index}", nn.Conv2d(before, after, 3, padding=1))
        self.curves = nn.Tanh()

    def forward(self, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
        levels = [pixels]
        for index in range(1, 5):
            levels.append(torch.relu(self.get_submodule(f"e_conv{index}")(levels[-1])))
        _, first, second, third, found = levels
        found = torch.relu(self.get_submodule("e_conv5")(torch.cat([third, found], 1)))
        found = torch.relu(self.get_submodule("e_conv6")(torch.cat([second, found], 1)))
        curves = self.curves(self.get_submodule("e_conv7")(torch.cat([first, found], 1)))
        for curve in curves.split(3, dim=1):
            pixels = pixels + curve * (pixels.square() - pixels)
        return pixels


class Darkened(nn.Module):
    """A network that sees a tenth of the light."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height width"]:
        made: Tensor = self.network(0.1 * pixels)
        return made


class Vdsr(nn.Module):
    """Twenty convolutions add detail to the luminance of a picture that was enlarged bicubically.

    Source:
        Kim, Lee & Lee, Accurate Image Super-Resolution Using Very Deep Convolutional Networks, CVPR 2016.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.residual_layer = nn.ModuleList(
            nn.ModuleDict({"conv": nn.Conv2d(64, 64, 3, padding=1, bias=False)}) for _ in range(18)
        )
        self.output = nn.Conv2d(64, 1, 3, padding=1, bias=False)

    def forward(self, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "1 3 height2 width2"]:
        large = functional.interpolate(pixels, scale_factor=2, mode="bicubic", align_corners=False)
        # Luminance of BT.601; equal steps of red, green and blue are steps of luminance alone.
        luminance = (large * large.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        found = torch.relu(self.input(luminance))
        for layer in self.residual_layer:
            found = torch.relu(layer["conv"](found))
        return large + self.output(found)


def vdsr() -> Operator:
    """Super-resolution by a network of the luminance; its answer is lifted as it is."""
    network = Vdsr()
    load_weights(network, model_file("vdsr/vdsr_y.safetensors"), ())
    return lift3d.operator(
        network, ("output",), name="vdsr", prediction="image", enlarges=2, restores=True,
        finish=lambda painted: painted.clamp(0, 1),
    )  # fmt: skip


def edsr_x2() -> Operator:
    """Super-resolution, cut before its last convolution."""
    network = NpzNetwork("edsr_f64b5_x2.npz", (45,))
    return lift3d.operator(
        network, ("at_45",), name="edsr_x2", prediction="image", enlarges=2, restores=True, normalization=TO_255,
        finish=lambda painted: painted / 255,
    )  # fmt: skip


def mosaic_split() -> Operator:
    """Semantic segmentation of ADE20K's 32 classes, cut at its logits."""
    network = NpzNetwork("mosaic_ade20k32.npz", (240,), last=98)
    return lift3d.operator(
        network, ("at_240",), name="mosaic_split", prediction="labels", quantity="label", input_size=(512, 512),
        normalization=BYTES_AROUND_0,
    )  # fmt: skip


def mobilenet_split() -> Operator:
    """MobileNet v2's features at stride 8."""
    network = NpzNetwork("mobilenet_v2_imagenet.npz", last="MobilenetV2/expanded_conv_5/add")
    return lift3d.operator(network, ("output",), name="mobilenet_split", normalization=BYTES_AROUND_0)


def zerodce() -> Operator:
    """Low-light enhancement; the curves act on the image itself, so both are lifted."""
    network = ZeroDce()
    load_weights(network, model_file("zerodce/Epoch99.pth"), ())
    return lift3d.operator(network, ("curves", "input"), name="zerodce", prediction="image")


def zerodce_dark() -> Operator:
    """The same on a tenth of the light: how near does it come to the photograph?"""
    network = ZeroDce()
    load_weights(network, model_file("zerodce/Epoch99.pth"), ())
    return lift3d.operator(Darkened(network), ("output",), name="zerodce_dark", prediction="image", restores=True)
