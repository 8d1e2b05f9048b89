"""Where the cells of a cut look, to a tenth of a cell: by how their features depend on the pixels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.operators.split.cuts import OUTPUT, Cut, capture
from lift3d.operators.split.layout import Layout
from lift3d.operators.split.run import ProbeRun

# Images that a centre of mass is averaged over, and at once.
_ROUNDS, _BATCH = 6, 16
# Centres follow from kernels and paddings, which are whole: half a pixel is the finest place there is.
_FINEST_PX, _SURE_ERRORS = 0.5, 2.5
# Standard error, in cells, that is good enough to stop; a tenth of a cell is promised.
_EXACT = 0.03
# Half width of the window that follows the mass, and how often it moves.
_WINDOW_CELLS, _LEAST_WINDOW_PX, _SHIFTS = 2.0, 2.0, 12


def find_centers(
    run: ProbeRun, cut: Cut, layout: Layout, size: ImageSize, grid: tuple[int, int]
) -> tuple[float, float]:
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
    run: ProbeRun, cut: Cut, layout: Layout, size: ImageSize, cells: Int[Tensor, "image 2"], turn: int
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
