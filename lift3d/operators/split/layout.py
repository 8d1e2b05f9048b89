"""How a tensor inside a network lies over the image: channels first or last, or a sequence of tokens."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.errors import ContractError

Kind = Literal["NCHW", "NHWC", "NHW", "NTC", "NCT"]
# Class, distillation and register tokens together; no published transformer has more.
_MOST_PREFIX_TOKENS = 64
_LARGEST_STRIDE = 128


@dataclass(frozen=True, slots=True)
class Layout:
    """Which axes of a tensor are the image's, and pixels of the input per cell, down and across.

    T are tokens, row by row, after ``prefix`` others.
    """

    kind: Kind
    prefix: int
    stride: tuple[float, float]

    def grid_of(self, size: ImageSize, shape: Sequence[int]) -> tuple[int, int]:
        """Return rows and columns of cells for an input of a size; ContractError if the shape does not have them."""
        if "T" in self.kind:
            rows, cols = round(size.height / self.stride[0]), round(size.width / self.stride[1])
            got = shape[self.kind.index("T")]
            if self.prefix + rows * cols != got:
                raise ContractError(
                    f"A network gives {got} tokens for an input of {size}; expected {self.prefix} + {rows}×{cols}. Its "
                    "shapes must follow from the input's size alone."
                )
            return rows, cols
        if len(shape) != len(self.kind):
            raise ContractError(f"A network gives {len(shape)} axes where it gave {len(self.kind)} before.")
        first = self.kind.index("H")
        return int(shape[first]), int(shape[first + 1])

    def channels_of(self, shape: Sequence[int]) -> int:
        """Return how many channels a cell of a tensor of this shape has."""
        return 1 if self.kind == "NHW" else int(shape[self.kind.index("C")])

    def to_cells(
        self, tensor: Float[Tensor, "..."], size: ImageSize
    ) -> tuple[Float[Tensor, "channel row col"], Float[Tensor, "token channel"] | None]:
        """Return the cells of the one image in a batch, and the tokens before them if there are any."""
        rows, cols = self.grid_of(size, tensor.shape)
        one = tensor if self.kind == "NHW" else tensor[0].movedim(self.kind.index("C") - 1, 0)
        if "T" not in self.kind:
            return one, None
        return one[:, self.prefix :].reshape(-1, rows, cols), one[:, : self.prefix].T if self.prefix else None

    def to_tensor(
        self, cells: Float[Tensor, "channel row col"], tokens: Float[Tensor, "token channel"] | None
    ) -> Float[Tensor, "..."]:
        """Return the tensor of a batch of one that has these cells: the inverse of ``to_cells``."""
        values = cells.flatten(1) if "T" in self.kind else cells
        if self.prefix:
            if tokens is None or len(tokens) != self.prefix:
                raise ContractError(
                    f"A network's {self.prefix} tokens before the cells were lost; expected them as global tokens."
                )
            values = torch.cat([tokens.T, values], dim=1)
        return (values if self.kind == "NHW" else values.movedim(0, self.kind.index("C") - 1)[None]).contiguous()


def find_layout(sizes: Sequence[ImageSize], shapes: Sequence[Sequence[int]], place: str) -> Layout:
    """Find how a tensor lies over the image from its shapes for inputs of several sizes (one, if it takes only one).

    Two of the sizes differ along both axes by different amounts. ContractError, which names the place, if no axes
    follow the image's.
    """
    axes = [axis for axis in range(len(shapes[0])) if len({shape[axis] for shape in shapes}) > 1]
    if len(sizes) == 1:
        return _of_one_size(sizes[0], shapes[0], place)
    kinds: dict[tuple[int, tuple[int, ...]], Kind] = {
        (4, (2, 3)): "NCHW",
        (4, (1, 2)): "NHWC",
        (3, (1, 2)): "NHW",
        (3, (1,)): "NTC",
        (3, (2,)): "NCT",
    }
    kind = kinds.get((len(shapes[0]), tuple(axes)))
    if kind in ("NTC", "NCT"):
        return _of_tokens(kind, sizes, [shape[axes[0]] for shape in shapes], place)
    if kind is None:
        raise _not_spatial(shapes[0], place)
    counts = [tuple(shape[axis] for axis in axes) for shape in shapes]
    # Differences, so that what a network crops at its borders does not count as stride.
    strides = {
        (
            (more.height - size.height) / ((more_rows - rows) or math.nan),
            (more.width - size.width) / ((more_cols - cols) or math.nan),
        )
        for (size, (rows, cols)), (more, (more_rows, more_cols)) in itertools.pairwise(zip(sizes, counts, strict=True))
    }
    if len(strides) > 1 or not all(math.isfinite(side) and side > 0 for side in min(strides)):
        raise ContractError(
            f"{place} gives {counts} cells for inputs of {', '.join(map(str, sizes))}: no fixed stride."
        )
    return Layout(kind, 0, strides.pop())


def _of_tokens(kind: Kind, sizes: Sequence[ImageSize], counts: Sequence[int], place: str) -> Layout:
    for stride in range(1, _LARGEST_STRIDE + 1):
        if any(size.height % stride or size.width % stride for size in sizes):
            continue
        cells = [(size.height // stride) * (size.width // stride) for size in sizes]
        prefixes = {count - own for count, own in zip(counts, cells, strict=True)}
        if len(prefixes) == 1 and 0 <= min(prefixes) <= _MOST_PREFIX_TOKENS:
            return Layout(kind, prefixes.pop(), (float(stride), float(stride)))
    raise ContractError(
        f"{place}: {list(counts)} tokens for inputs of {', '.join(map(str, sizes))} are no grid of cells."
    )


def _of_one_size(size: ImageSize, shape: Sequence[int], place: str) -> Layout:
    """Read a shape of the only size that a network takes: the most square reading with the fewest tokens before."""
    ratio = size.height / size.width
    if len(shape) == 4:
        is_last = abs(shape[2] / shape[3] - ratio) < 1e-6 and min(shape[2:]) > 1
        rows, cols = (shape[2], shape[3]) if is_last else (shape[1], shape[2])
        if min(rows, cols) <= 1:
            raise _not_spatial(shape, place)
        return Layout("NCHW" if is_last else "NHWC", 0, (size.height / rows, size.width / cols))
    if len(shape) == 3 and shape[1] > 1 and abs(shape[1] / shape[2] - ratio) < 1e-6:
        return Layout("NHW", 0, (size.height / shape[1], size.width / shape[2]))
    if len(shape) == 3:
        for prefix in range(_MOST_PREFIX_TOKENS + 1):
            rows = round(max(0.0, (shape[1] - prefix) * ratio) ** 0.5)
            cols = round(rows / ratio)
            if rows > 1 and prefix + rows * cols == shape[1]:
                return Layout("NTC", prefix, (size.height / rows, size.width / cols))
    raise _not_spatial(shape, place)


def _not_spatial(shape: Sequence[int], place: str) -> ContractError:
    return ContractError(
        f"{place} gives a tensor of shape {tuple(shape)}, none of whose axes follow the image's height and width; "
        "expected NCHW, NHWC, or tokens over a grid. Cut before the image is pooled or flattened."
    )
