"""What an array of a product will look like, and which regions of it one writer may write."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Float16, Shaped

from lift3d.errors import StoreLayoutError


@dataclass(frozen=True, slots=True)
class ArrayTemplate:
    """The layout of an array, before there is any of it.

    Attributes:
        dtype: A NumPy dtype name (bool, int32, uint8, float16, float32 …) or ``string``.
        dims: Name of every axis. An array named as its only axis is that axis' coordinate.
        chunks: What is read at once.
        shards: What is written at once, a multiple of chunks; None where that is a chunk.

    Raises:
        StoreLayoutError: If these do not fit together, or the dtype is not one that every reader knows.
    """

    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        grid = self.grid
        axis_counts = {len(self.shape), len(self.dims), len(self.chunks), len(grid)}
        if len(axis_counts) != 1 or min((*self.chunks, *grid), default=1) < 1:
            raise StoreLayoutError(
                f"An array template needs a name and a positive chunk length per axis; got shape "
                f"{self.shape}, dims {self.dims}, chunks {self.chunks}, shards {self.shards}."
            )
        if any(unit % chunk for unit, chunk in zip(grid, self.chunks, strict=True)):
            raise StoreLayoutError(f"Shards are whole multiples of chunks; got {grid} for chunks {self.chunks}.")
        if self.dtype != "string" and np.dtype(self.dtype).kind not in "biuf":
            raise StoreLayoutError(f"Arrays hold booleans, integers, floats or strings, got '{self.dtype}'.")

    @classmethod
    def whole(cls, values: Shaped[np.ndarray, "..."], dims: tuple[str, ...]) -> "ArrayTemplate":
        """Return the template of an array that is written at once, as one chunk."""
        dtype = "string" if values.dtype.kind in "UTO" else values.dtype.name
        return cls(values.shape, dtype, dims, tuple(max(1, length) for length in values.shape))

    @property
    def grid(self) -> tuple[int, ...]:
        """Length of a write unit (a shard, or a chunk where there are no shards) along every axis."""
        return self.shards or self.chunks

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of the values in memory."""
        return np.dtypes.StringDType() if self.dtype == "string" else np.dtype(self.dtype)

    @property
    def missing(self) -> float | int | str:
        """What stands where nothing was written."""
        dtype = self.numpy_dtype
        sentinels: dict[str, float | int | str] = {"f": np.nan, "i": -1, "b": False, "T": ""}
        return int(np.iinfo(dtype).max) if dtype.kind == "u" else sentinels[dtype.kind]

    def require_region(self, start: int, lengths: tuple[int, ...]) -> None:
        """Check that a region along the first axis is whole write units, and all of the other axes."""
        if not self.shape:
            return
        end = start + lengths[0] if lengths else -1
        is_whole = start % self.grid[0] == 0 and (end % self.grid[0] == 0 or end == self.shape[0])
        if lengths[1:] != self.shape[1:] or end > self.shape[0] or not is_whole:
            raise StoreLayoutError(
                f"A region is whole units of {self.grid} inside {self.shape} (only the last may be shorter); "
                f"got start {start} and shape {lengths}."
            )


def to_half(values: Float[np.ndarray, "*shape"]) -> tuple[Float16[np.ndarray, "*shape"], int]:
    """Return values as float16, clamped to its range, and how many were; NaN stays NaN."""
    limit = float(np.finfo(np.float16).max)
    clamped_count = int(np.count_nonzero(np.abs(values) > limit))
    return np.clip(values, -limit, limit).astype(np.float16), clamped_count
