"""Feature maps and where their cells sit in the image."""

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.errors import ConfigError, ShapeError


@dataclass(frozen=True, slots=True)
class FeatureGrid:
    """Where feature cells sit: cell (r, c) is centred at ``origin + stride · (c + 0.5, r + 0.5)``.

    Attributes:
        stride_u: Image pixels per cell to the right.
        stride_v: Image pixels per cell downwards.
        origin_u: u of the outer corner of the first cell, pixels of the image given to encode; so is v.
    """

    rows: int
    cols: int
    stride_u: float
    stride_v: float
    origin_u: float = 0.0
    origin_v: float = 0.0

    def __post_init__(self) -> None:
        if min(self.rows, self.cols) < 1 or min(self.stride_u, self.stride_v) <= 0:
            raise ConfigError(f"A feature grid needs cells and positive strides, got {self}.")

    @property
    def cell_count(self) -> int:
        """Number of cells, row-major."""
        return self.rows * self.cols

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.rows, self.cols

    @property
    def placement(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Stride and origin, each (u, v)."""
        return (self.stride_u, self.stride_v), (self.origin_u, self.origin_v)

    @property
    def lattice(self) -> tuple[int, int, tuple[float, float], tuple[float, float]]:
        """Rows, columns, stride and origin, as functions of ``lift3d.geometry`` take them."""
        return (*self.shape, *self.placement)

    @classmethod
    def covering(cls, size: ImageSize, stride: float) -> "FeatureGrid":
        """Return the grid whose cells tile the image exactly, with a stride as near to ``stride`` as fits."""
        rows = max(1, round(size.height / stride))
        cols = max(1, round(size.width / stride))
        return cls(rows, cols, size.width / cols, size.height / rows)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMap:
    """The values an operator computes for one image, on their exact grid; NaN where a lifted map is not covered.

    Attributes:
        global_tokens: Class tokens, registers or readouts, if the model has any.
    """

    values: Float[Tensor, "channel row col"]
    grid: FeatureGrid
    global_tokens: Float[Tensor, "token channel"] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or tuple(self.values.shape[1:]) != self.grid.shape:
            raise ShapeError(
                f"Feature values of shape {tuple(self.values.shape)} do not fit a grid of "
                f"{self.grid.rows}×{self.grid.cols} cells; expected (channel, row, col)."
            )

    @property
    def channel_count(self) -> int:
        """Number of channels."""
        return int(self.values.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class SceneState:
    """What an operator fits on all views of a scene: named arrays, stored and hashed. Empty for most operators."""

    arrays: dict[str, Tensor]
    _numbers: dict[str, list[Any]] = field(default_factory=dict, init=False, repr=False)

    def numbers(self, name: str) -> list[Any]:
        """Return a small array of one axis as numbers, which are fetched once, wherever it lies."""
        if name not in self._numbers:
            self._numbers[name] = self.arrays[name].tolist()
        return self._numbers[name]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not self.arrays


EMPTY_STATE = SceneState({})
"""Of operators that fit nothing."""
