"""What a module does to an image, found by running it: which sizes it takes, how its tensors lie, where cells look.

Letters: a cell of a cut looks at the pixels that its features change with; it is centred where most of that is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.errors import ContractError
from lift3d.operators.split.centers import find_centers
from lift3d.operators.split.cuts import OUTPUT, Call, Cut, capture, tensors_equal
from lift3d.operators.split.layout import Layout, find_layout
from lift3d.operators.split.run import ProbeRun

# Multiples that inputs may have to be of; the least that works is taken.
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 3, 6, 12, 24, 48, 7, 14, 28, 56, 5, 10, 20, 9, 18, 36, 11, 15, 25, 27, 96)
# Sizes of networks that take only one, the commonest first.
_FIXED = (224, 256, 384, 512, 336, 448, 518, 192, 160, 128, 96, 64, 48, 32, 1024, 513, 640)
# Room for a few dozen cells of stride 16 in the middle.
_PROBE_PX = 64
# Cells along an axis when centres are looked for: windows of two cells about the middle half, free of the borders.
_PROBE_CELLS = 10


@dataclass(frozen=True, slots=True)
class CutGeometry:
    """Where the cells of a cut sit in the network's input; all pairs are down and across, in its pixels.

    ``first`` is the centre of the first cell, from the outer corner; ``cropped`` is what cells of a stride each do not
    account for.
    """

    layout: Layout
    first: tuple[float, float]
    channel_count: int
    cropped: tuple[float, float]

    def grid(self, rows: int, cols: int, image: ImageSize, network: ImageSize) -> FeatureGrid:
        """Return the grid in pixels of an image that the network sees at another size, or ContractError."""
        lengths = zip((network.height, network.width), self.cropped, self.layout.stride, strict=True)
        expected = tuple(round((length - cropped) / stride) for length, cropped, stride in lengths)
        if (rows, cols) != expected:
            raise ContractError(
                f"A network gives {rows}×{cols} cells for an input of {network}; expected {expected[0]}×{expected[1]}, "
                "as when it was probed. Its shapes must follow from the input's size alone."
            )
        down, across = image.height / network.height, image.width / network.width
        (stride_v, stride_u), (first_v, first_u) = self.layout.stride, self.first
        return FeatureGrid(
            rows=rows,
            cols=cols,
            stride_u=stride_u * across,
            stride_v=stride_v * down,
            origin_u=(first_u - stride_u / 2) * across,
            origin_v=(first_v - stride_v / 2) * down,
        )


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a module takes and gives.

    The input's sides must be multiples of ``multiple`` and at least ``least``, or it has the size ``fixed`` alone.
    ``probed`` is a size that it was run at, ``answer`` how its answer lies over the image, if it was asked for.
    """

    multiple: int
    least: int
    fixed: ImageSize | None
    cuts: tuple[CutGeometry, ...]
    probed: ImageSize
    answer: Layout | None = None

    def input_size(self, image: ImageSize) -> ImageSize:
        """Return the size at which the network sees an image: its own, or the next that the network takes."""
        if self.fixed is not None:
            return self.fixed
        height, width = max(image.height, self.least), max(image.width, self.least)
        return ImageSize(_next(height, self.multiple), _next(width, self.multiple))


def probe(
    model: nn.Module,
    call: Call,
    cuts: Sequence[Cut],
    fixed: ImageSize | None = None,
    read_answer: Callable[[Any], Tensor] | None = None,
) -> Geometry:
    """Find out what a module in evaluation mode takes, and where the cells of its cuts sit.

    ``fixed`` is the only size that it takes, if that is known. ``read_answer`` takes the answer from its output; it
    need not run to its end without. ContractError if it runs at no size that was tried, gives no map, gives NaN, or
    something else each time.
    """
    run = ProbeRun(model, call, tuple(cuts), read_answer)
    sizes, layouts, multiple = _what_it_takes(run, fixed)
    if len(sizes) > 1:
        # Whole cells of every cut, so that nothing of the image is beyond the last one.
        multiple = math.lcm(multiple, *(round(side) for one in layouts for side in one.stride if side >= 1))
        sizes = _sizes(multiple)
    size = sizes[0]
    _check_runs_once(run, size)
    _check_repeats(run, size)
    geometries = []
    is_free = len(sizes) > 1
    for index, (cut, layout, shape) in enumerate(zip(cuts, layouts, run.shapes(size), strict=False)):
        first = (layout.stride[0] / 2, layout.stride[1] / 2)
        # An answer lies where it is drawn: its cells tile the image, wherever they look.
        if cut.module != OUTPUT or read_answer is None:
            roomy = _roomy(layout, multiple) if is_free else size
            first = find_centers(run, cut, layout, roomy, layout.grid_of(roomy, run.shapes(roomy)[index]))
        rows, cols = layout.grid_of(size, shape)
        cropped = (size.height - layout.stride[0] * rows, size.width - layout.stride[1] * cols)
        geometries.append(CutGeometry(layout, first, layout.channels_of(shape), cropped))
    return Geometry(
        multiple=multiple if is_free else 0,
        least=_least(run, geometries, multiple, size) if is_free else 0,
        fixed=None if is_free else size,
        cuts=tuple(geometries),
        probed=size,
        answer=layouts[-1] if read_answer else None,
    )


def _next(length: int, multiple: int) -> int:
    return max(1, math.ceil(length / multiple)) * multiple


def _sizes(multiple: int) -> list[ImageSize]:
    """Return sizes whose axes grow by small and by large steps: a stride that follows from both is no rounding."""
    count = max(2, math.ceil(_PROBE_PX / multiple))
    return [ImageSize(multiple * (count + v), multiple * (count + u)) for v, u in ((0, 1), (2, 4), (7, 6))]


def _least(run: ProbeRun, cuts: Sequence[CutGeometry], multiple: int, size: ImageSize) -> int:
    """Return a smallest length at which the module runs and gives whole cells; doubled until it does."""
    side = multiple
    while side < min(size.height, size.width):
        square = ImageSize(side, side)
        try:
            tensors = run.tensors(square)
            for geometry, tensor in zip(cuts, tensors, strict=False):
                geometry.grid(*geometry.layout.grid_of(square, tensor.shape), square, square)
            is_finite = all(bool(torch.isfinite(tensor.float()).all()) for tensor in tensors)
        except Exception:  # A network refuses a size in whatever way it likes.
            is_finite = False
        if is_finite:
            return side
        side *= 2
    return min(size.height, size.width)


def _roomy(layout: Layout, multiple: int) -> ImageSize:
    """Return a size with so many cells that those in the middle hardly see the borders."""
    height, width = (_next(math.ceil(_PROBE_CELLS * side), multiple) for side in layout.stride)
    return ImageSize(max(height, _sizes(multiple)[0].height), max(width, _sizes(multiple)[0].width))


def _what_it_takes(run: ProbeRun, fixed: ImageSize | None) -> tuple[list[ImageSize], list[Layout], int]:
    """Return sizes that the module takes, how its tensors lie, and the multiple that sizes are of."""
    failure: Exception | None = None
    free = [] if fixed is not None else [(_sizes(multiple), multiple) for multiple in _MULTIPLES]
    only = [ImageSize(side, side) for side in _FIXED] if fixed is None else [fixed]
    for sizes, multiple in [*free, *(([size], 1) for size in only)]:
        try:
            shapes = list(zip(*(run.shapes(size) for size in sizes), strict=True))
            layouts = [find_layout(sizes, own, place) for own, place in zip(shapes, run.places, strict=True)]
        except Exception as error:  # A network refuses a size in whatever way it likes.
            # That a cut is none, or that a map is none at the one size left, says more than a size refused.
            if failure is None or (isinstance(error, ContractError) and not isinstance(failure, ContractError)):
                failure = error
            continue
        return sizes, layouts, multiple
    if isinstance(failure, ContractError):
        raise failure
    raise ContractError(
        f"{type(run.model).__name__} ran at none of the sizes that were tried, free or square; the first failure was "
        f"{type(failure).__name__}: {failure}. If it takes one size only, give it as input_size=(height, width); if it "
        "wants other arguments than one batch of images, give call=."
    ) from failure


def _check_runs_once(run: ProbeRun, size: ImageSize) -> None:
    """Refuse a cut whose submodule runs again later; encode would stop at its first call and not notice."""
    try:
        with torch.no_grad():
            capture(run.model, run.call, run.noise(size), run.cuts)
    except ContractError:
        raise
    except Exception:  # What lies behind the last cut need not take this size.
        return


def _check_repeats(run: ProbeRun, size: ImageSize) -> None:
    for name, first, second in zip(run.places, run.tensors(size), run.tensors(size), strict=True):
        if not bool(torch.isfinite(first.float()).all()):
            raise ContractError(f"{name} gives NaN or infinity on noise in [0, 1]; expected finite values.")
        if not tensors_equal(first, second):
            raise ContractError(
                f"{name} is another each time; expected a network that is deterministic in evaluation mode."
            )
