"""Where a network's feature cells sit in its input.

A cell is not always centred in its block of stride × stride pixels: the first output of a 3×3 convolution of stride 2
and padding 1 is centred on the *first* pixel, so after four of them (a ResNet at stride 16) the cells sit 7.5 pixels up
and left of the blocks' centres, and features would be displaced by that in every view, each time in another direction.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lift3d.errors import ContractError


@dataclass(frozen=True, slots=True)
class CellLattice:
    """Cells along each axis: cell i is centred at ``first + stride · i``, pixels of the input from its outer corner."""

    stride: int | float
    first: float

    def spans(self, count: int, length: int) -> bool:
        """Whether so many cells reach as far from the end of an axis as from its start, up to one cell."""
        last = self.first + self.stride * (count - 1)
        return abs(length - last - self.first) <= self.stride + 1e-6


@dataclass(frozen=True, slots=True)
class _Window:
    """One strided operation as it was run: output i is centred on input index ``stride · i + shift``."""

    length_in: int
    length_out: int
    stride: int
    shift: float


def measure_lattice(network: nn.Module, run: Callable[[Tensor], Tensor], pixels: Tensor) -> tuple[CellLattice, int]:
    """Return where the cells of features "1 channel row col" are centred, by running a network once, and the channels.

    Every strided convolution and pooling on the way from the pixels to the features moves the centres by what
    its kernel and padding say. Where several start at the same resolution, the gentlest count (attention on
    coarser keys is a side path), midway between the extremes if they disagree (a shortcut that pools beside a
    convolution). A change of resolution without a window (merging 2×2 tokens, resizing) joins blocks and keeps their
    centre. ContractError if the cells do not span the input.

    Source:
        Araujo, Norris & Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019.
    """
    windows: list[_Window] = []
    with ExitStack() as hooks, torch.no_grad():
        for module in network.modules():
            # Blocks that only remember the stride of a convolution inside them are not operations themselves.
            if hasattr(module, "stride") and hasattr(module, "padding") and not list(module.children()):
                hooks.enter_context(module.register_forward_hook(partial(_record, windows)))
        features = run(pixels)
    _, channels, *counts = map(int, features.shape)
    lengths = [int(length) for length in pixels.shape[-2:]]
    lattice = _follow(windows, lengths[0], counts[0])
    if not all(lattice.spans(count, length) for count, length in zip(counts, lengths, strict=True)):
        raise ContractError(
            f"{counts[0]}×{counts[1]} cells, one every {lattice.stride:.4g} pixels, do not span an input of "
            f"{lengths[0]}×{lengths[1]}: the network resizes it inside."
        )
    return lattice, channels


def _record(windows: list[_Window], module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    """Note a module that lowers the resolution of an image-like tensor."""
    source = inputs[0] if inputs else None
    if not isinstance(source, Tensor) or not isinstance(output, Tensor):
        return
    if source.ndim != 4 or output.ndim != 4:
        return
    length_in, length_out = int(source.shape[-2]), int(output.shape[-2])
    kernel = _first(getattr(module, "kernel_size", getattr(module, "filt_size", None)))
    if length_out >= length_in or kernel is None:
        return
    stride = int(_first(module.stride) or 1)
    extent = int(_first(getattr(module, "dilation", 1)) or 1) * (int(kernel) - 1)
    if type(module).__name__.endswith("Same") or module.padding == "same":
        # TensorFlow's rule: as much padding as the last window needs, the smaller half before.
        before = max((length_out - 1) * stride + extent + 1 - length_in, 0) // 2
    else:
        before = int(_first(module.padding) or 0)
    windows.append(_Window(length_in, length_out, stride, extent / 2 - before))


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple | list) else value


def _follow(windows: list[_Window], length: int, wanted: int) -> CellLattice:
    """Chain the operations from the input's length to the features' length."""
    stride: int | float = 1
    center = 0.0
    while length > wanted:
        ways = [window for window in windows if window.length_in == length and window.length_out >= wanted]
        if not ways:
            # Tokens merged block by block; parts of a pixel where the network resizes its input first.
            factor = length // wanted if length % wanted == 0 else length / wanted
            center, stride = center + stride * (factor - 1) / 2, stride * factor
            break
        longest = max(way.length_out for way in ways)
        gentlest = [way for way in ways if way.length_out == longest]
        shifts = [way.shift for way in gentlest]
        center += stride * (min(shifts) + max(shifts)) / 2
        stride, length = stride * gentlest[0].stride, longest
    if length < 1 or stride < 1:
        raise ContractError(f"No chain of operations leads from the image to {wanted} rows of features.")
    return CellLattice(stride, center + 0.5)
