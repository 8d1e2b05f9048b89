"""What a module does to an image, found by running it: which sizes it takes, how its tensors lie, where cells look.

Letters: a cell of a cut looks at the pixels that its features change with; it is centred where most of that is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.errors import ContractError
from lift3d.operators.split_cuts import OUTPUT, Call, Cut, capture, tensors_equal
from lift3d.operators.split_layout import Layout, find_layout

# Multiples that inputs may have to be of; the least that works is taken.
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 3, 6, 12, 24, 48, 7, 14, 28, 56, 5, 10, 20, 9, 18, 36, 11, 15, 25, 27, 96)
# Sizes of networks that take only one, the commonest first.
_FIXED = (224, 256, 384, 512, 336, 448, 518, 192, 160, 128, 96, 64, 48, 32, 1024, 513, 640)
# Room for a few dozen cells of stride 16 in the middle.
_PROBE_PX = 64
# Cells along an axis when centres are looked for: windows of two cells about the middle half, free of the borders.
_PROBE_CELLS = 10
# Images that a centre of mass is averaged over, and at once.
_ROUNDS, _BATCH = 6, 16
# Centres follow from kernels and paddings, which are whole: half a pixel is the finest place there is.
_FINEST_PX, _SURE_ERRORS = 0.5, 2.5
# Standard error, in cells, that is good enough to stop; a tenth of a cell is promised.
_EXACT = 0.03
# Half width of the window that follows the mass, and how often it moves.
_WINDOW_CELLS, _LEAST_WINDOW_PX, _SHIFTS = 2.0, 2.0, 12


@dataclass(frozen=True, slots=True)
class CutGeometry:
    """Where the cells of a cut sit in the network's input.

    Attributes:
        layout: How the tensor lies.
        first: Centre of the first cell, pixels of the input from its outer corner, down and across.
        channel_count: Channels of a cell.
        cropped: Pixels of the input, down and across, that cells of a stride each do not account for.
    """

    layout: Layout
    first: tuple[float, float]
    channel_count: int
    cropped: tuple[float, float]

    def grid(self, rows: int, cols: int, image: ImageSize, network: ImageSize) -> FeatureGrid:
        """Return the cells' grid in pixels of an image that the network sees at another size.

        Raises:
            ContractError: If there are not as many cells as such an input had at first.
        """
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

    Attributes:
        multiple: What the input's height and width must be multiples of; 0 if it takes one size only.
        least: The smallest height and width that it takes.
        fixed: That size; None for a module that takes any.
        cuts: One entry per cut.
        probed: A size that it was run at.
        answer: How its answer lies over the image; None if it was not asked for.
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
    """Find out what a module takes and where the cells of its cuts sit.

    Args:
        model: In evaluation mode.
        call: Runs it on a batch of images.
        cuts: At least one.
        fixed: The only size that it takes, if that is known.
        read_answer: Takes the answer from the module's output; the module need not run to its end without.

    Raises:
        ContractError: If it runs at no size that was tried, gives no map over the image, gives NaN, or something else
            each time.
    """
    run = _Run(model, call, tuple(cuts), read_answer)
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
            first = _centers(run, cut, layout, roomy, layout.grid_of(roomy, run.shapes(roomy)[index]))
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


@dataclass(frozen=True, slots=True)
class _Run:
    """How the module is run while it is probed."""

    model: nn.Module
    call: Call
    cuts: tuple[Cut, ...]
    read_answer: Callable[[Any], Tensor] | None

    def tensors(self, size: ImageSize) -> list[Tensor]:
        """Return the tensors at the cuts, and the answer if it is wanted, for an image of noise."""
        stops = self.read_answer is None and all(cut.module != OUTPUT for cut in self.cuts)
        with torch.no_grad():
            output, found = capture(self.model, self.call, self.noise(size), self.cuts, stops=stops)
        tensors = [found[cut] for cut in self.cuts]
        return tensors if self.read_answer is None else [*tensors, self.read_answer(output)]

    def shapes(self, size: ImageSize) -> list[tuple[int, ...]]:
        """Return their shapes."""
        return [tuple(one.shape) for one in self.tensors(size)]

    @property
    def places(self) -> list[str]:
        """Return what the tensors are, for messages."""
        return [*(f"Cut '{cut.text}'" for cut in self.cuts), *(["The answer"] if self.read_answer else [])]

    def noise(self, size: ImageSize, count: int = 1, seed: int = 0) -> Float[Tensor, "image 3 height width"]:
        """Return noise where the module is."""
        one = next(iter(self.model.parameters()), None)
        return noise(size, count, seed) if one is None else noise(size, count, seed).to(one.device)


def noise(size: ImageSize, count: int = 1, seed: int = 0) -> Float[Tensor, "image 3 height width"]:
    """Return images that excite everything a network looks for: coarse and fine noise, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 2 + size.height // 8, 2 + size.width // 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, (size.height, size.width), mode="bilinear", align_corners=False)
    return 0.6 * smooth + 0.4 * torch.rand(count, 3, size.height, size.width, generator=generator)


def _next(length: int, multiple: int) -> int:
    return max(1, math.ceil(length / multiple)) * multiple


def _sizes(multiple: int) -> list[ImageSize]:
    """Return sizes whose axes grow by small and by large steps: a stride that follows from both is no rounding."""
    count = max(2, math.ceil(_PROBE_PX / multiple))
    return [ImageSize(multiple * (count + v), multiple * (count + u)) for v, u in ((0, 1), (2, 4), (7, 6))]


def _least(run: _Run, cuts: Sequence[CutGeometry], multiple: int, size: ImageSize) -> int:
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


def _what_it_takes(run: _Run, fixed: ImageSize | None) -> tuple[list[ImageSize], list[Layout], int]:
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


def _check_runs_once(run: _Run, size: ImageSize) -> None:
    """Refuse a cut whose submodule runs again later; encode would stop at its first call and not notice."""
    try:
        with torch.no_grad():
            capture(run.model, run.call, run.noise(size), run.cuts)
    except ContractError:
        raise
    except Exception:  # What lies behind the last cut need not take this size.
        return


def _check_repeats(run: _Run, size: ImageSize) -> None:
    for name, first, second in zip(run.places, run.tensors(size), run.tensors(size), strict=True):
        if not bool(torch.isfinite(first.float()).all()):
            raise ContractError(f"{name} gives NaN or infinity on noise in [0, 1]; expected finite values.")
        if not tensors_equal(first, second):
            raise ContractError(
                f"{name} is another each time; expected a network that is deterministic in evaluation mode."
            )


def _centers(run: _Run, cut: Cut, layout: Layout, size: ImageSize, grid: tuple[int, int]) -> tuple[float, float]:
    """Return where the first cell looks: where its features' squared gradient by the pixels is concentrated.

    It is the mean over random cells and images. Cells are taken in pairs that lie opposite to one another about the
    middle, so that what draws every centre towards the middle (attention, borders) falls out.
    """
    stride = torch.tensor(layout.stride, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    offsets: list[Tensor] = []
    mean, error = stride / 2, stride
    for turn in range(_ROUNDS):
        cells = torch.stack([_opposite(count, generator) for count in grid], 1)
        masses = _masses(run, cut, layout, size, cells, turn)
        if masses is None:
            # No gradient tells: cells that tile the input are centred on their share of it.
            return layout.stride[0] / 2, layout.stride[1] / 2
        at = torch.stack([_mode(mass, (cell + 0.5) * stride, stride) for mass, cell in zip(masses, cells, strict=True)])
        own = at - stride * cells
        offsets.append((own[: _BATCH // 2] + own[_BATCH // 2 :]) / 2)
        found = torch.cat(offsets)
        mean, error = found.mean(0), found.std(0) / len(found) ** 0.5
        if bool((error <= _EXACT * stride).all()):
            break
    snapped = (mean / _FINEST_PX).round() * _FINEST_PX
    is_sure = (snapped - mean).abs() <= _SURE_ERRORS * error + 0.02
    first = torch.where(is_sure, snapped, mean)
    return float(first[0]), float(first[1])


def _mode(mass: Float[Tensor, "row col"], start: Float[Tensor, "2"], stride: Float[Tensor, "2"]) -> Float[Tensor, "2"]:
    """Return where mass is concentrated: its centre within a Gaussian window of two cells that follows it.

    Networks with wide context have long, lopsided tails; what a cell stands for is where most of it comes from.

    Source:
        Comaniciu & Meer, Mean shift, PAMI 2002, eq. 17 (Gaussian kernel).
    """
    rows, cols = (torch.arange(length, dtype=torch.float64) + 0.5 for length in mass.shape)
    radius = (_WINDOW_CELLS * stride).clamp(min=_LEAST_WINDOW_PX)
    center = start
    for _ in range(_SHIFTS):
        near_v = torch.exp(-((rows - center[0]) / radius[0]).square() / 2)
        near_u = torch.exp(-((cols - center[1]) / radius[1]).square() / 2)
        share = mass * near_v[:, None] * near_u
        center = torch.stack([share.sum(1) @ rows, share.sum(0) @ cols]) / share.sum().clamp(min=1e-300)
    return center


def _opposite(count: int, generator: torch.Generator) -> Tensor:
    """Return cells of the middle half, and as many opposite to them."""
    low, high = count // 4, max(count // 4 + 1, count - count // 4)
    one = torch.randint(low, high, (_BATCH // 2,), generator=generator)
    return torch.cat([one, count - 1 - one])


def _masses(
    run: _Run, cut: Cut, layout: Layout, size: ImageSize, cells: Int[Tensor, "image 2"], turn: int
) -> list[Float[Tensor, "row col"]] | None:
    """Return how much a random mixture of a cell's channels depends on each pixel, per image; None if unknown."""
    generator = torch.Generator().manual_seed(turn)
    found = []
    for image, (row, col) in zip(run.noise(size, _BATCH, seed=turn + 1), cells.tolist(), strict=True):
        # One by one: a module may take no batch.
        pixels = image[None].requires_grad_()
        with torch.enable_grad():
            _, tensors = capture(run.model, run.call, pixels.clone(), [cut], stops=cut.module != OUTPUT)
            if not tensors[cut].requires_grad:
                return None
            values, _ = layout.to_cells(tensors[cut], size)
            mixing = torch.randn(len(values), generator=generator).to(values)
            (gradient,) = torch.autograd.grad((values[:, row, col] * mixing).sum(), pixels, allow_unused=True)
        mass = None if gradient is None else gradient[0].square().sum(0).double().cpu()
        if mass is None or not float(mass.sum()) > 0:
            return None
        found.append(mass)
    return found
