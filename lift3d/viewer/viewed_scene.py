"""What is looked at and in which colours: one operator's answers in one scene, ready to be coloured."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.results.cloud import Cloud
from lift3d.results.colours import similarity_levels, similarity_table
from lift3d.results.likeness import relevance, similarity
from lift3d.viewer.answers import Answers
from lift3d.viewer.view_slices import ViewSlice

Picture8 = NDArray[np.uint8]
Colouring = Literal["photo", "features", "prediction"]

_GREY = 170
# Most cells are a little like every other, and one is itself: the scale is spent on what lies between.
_SHARES = (0.1, 0.995)
# As near to the words as to the nearest of those that they are told from (LERF).
_EVEN = 0.5
# Words that are nowhere would else be found everywhere: the scale reaches this far at least.
_LEAST_TOP = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class ColourMode:
    """A choice of colours: ``colouring``, or how like a point of the cloud, or embedded words, all else is."""

    is_lifted: bool = True
    colouring: Colouring = "photo"
    point: int | None = None
    texts: Float[Tensor, "text channel"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """Colours of the cloud and of the small pictures; ``limits`` are the values of the coldest and hottest, of heat."""

    points: UInt8[Tensor, "point 3"]
    pixels: UInt8[Tensor, "pixel 3"]
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class ViewedScene:
    """One operator's answers in one scene, ready to be coloured. Reads nothing any more.

    ``photos`` are None if they cannot be read any more, ``plain`` where the run has none, as for novel cameras. The
    store holds ``view_count`` views; no more than the first few hundred, evenly, are shown.
    """

    slices: tuple[ViewSlice, ...]
    cloud: Cloud
    photos: UInt8[Tensor, "pixel 3"] | None
    lifted: Answers
    plain: Answers | None
    kind: str
    view_count: int

    def __post_init__(self) -> None:
        # Worked out before the first click rather than at it.
        _ = self.point_cells, self.point_pixels, self.pixel_cells

    @property
    def cameras(self) -> list[Camera]:
        """Of the views."""
        return [place.camera for place in self.slices]

    @property
    def feature_bytes(self) -> int:
        """Memory that features take."""
        return sum(one.unit.nbytes for one in (self.lifted, self.plain) if one is not None)

    @property
    def colourings(self) -> tuple[Colouring, ...]:
        """What can be shown: no photo where there is none, no prediction where it is the features."""
        possible: dict[Colouring, bool] = {
            "photo": self.photos is not None,
            "features": True,
            "prediction": self.kind != "embedding",
        }
        return tuple(one for one, is_there in possible.items() if is_there)

    def answers(self, is_lifted: bool) -> Answers:
        """Return the answers of a kind; the lifted ones where there are no others."""
        return self.lifted if is_lifted or self.plain is None else self.plain

    def colours(self, mode: ColourMode) -> Colours:
        """Return the colours of a mode."""
        answers = self.answers(mode.is_lifted)
        if mode.point is not None:
            return self._alike(self.similarity(mode))
        if mode.texts is not None:
            return self._relevant(relevance(answers.unit, mode.texts))
        if mode.colouring == "features":
            return self._of_cells(answers.directions)
        pixels = self.photos if mode.colouring == "photo" else answers.prediction
        if pixels is None:
            pixels = torch.full((self.slices[-1].pixels.stop, 3), _GREY, dtype=torch.uint8)
        return Colours(pixels.index_select(0, self.point_pixels), pixels)

    def similarity(self, mode: ColourMode) -> Float[Tensor, " cell"]:
        """Return the cosine between every cell and the mode's point; NaN if the kind says nothing there."""
        unit = self.answers(mode.is_lifted).unit
        if mode.point is None:
            return torch.full((len(unit),), torch.nan)
        return similarity(unit, unit[self.point_cells[mode.point]][None].float())[0]

    @cached_property
    def point_cells(self) -> Int[Tensor, " point"]:
        """The cell of each point of the cloud."""
        return self._per_point(ViewSlice.cells_at)

    @cached_property
    def point_pixels(self) -> Int[Tensor, " point"]:
        """The small picture's pixel of each point of the cloud."""
        return self._per_point(ViewSlice.pixels_at)

    @cached_property
    def pixel_cells(self) -> Int[Tensor, " pixel"]:
        """The cell that each pixel of the small pictures shows."""
        return torch.cat([place.cells_at(place.pixel_centers()).flatten() for place in self.slices])

    def picture(self, pixels: UInt8[Tensor, "pixel 3"], index: int) -> Picture8:
        """Return the small picture of one view, (height, width, 3)."""
        place = self.slices[index]
        picture: Picture8 = pixels[place.pixels].reshape(place.picture.height, place.picture.width, 3).numpy()
        return picture

    def _per_point(self, place_of: Callable[[ViewSlice, Tensor], Tensor]) -> Int[Tensor, " point"]:
        found = torch.zeros(len(self.cloud.view), dtype=torch.int64)
        for index, place in enumerate(self.slices):
            own = self.cloud.view == index
            found[own] = place_of(place, self.cloud.uv[own])
        return found

    def _of_cells(self, colours: UInt8[Tensor, "cell 3"]) -> Colours:
        return Colours(colours.index_select(0, self.point_cells), colours.index_select(0, self.pixel_cells))

    def _alike(self, cosines: Float[Tensor, " cell"]) -> Colours:
        known = cosines[torch.isfinite(cosines)]
        # About 50,000 of them, evenly, are as good for a quantile, and sorted at once.
        known = known[:: max(1, len(known) // 50_000)].sort().values
        if len(known) == 0:
            return self._of_cells(torch.full((len(cosines), 3), _GREY, dtype=torch.uint8))
        low, high = (float(known[round(share * (len(known) - 1))]) for share in _SHARES)
        # Where everything is alike, the scale still has a length.
        return self._of_levels(cosines, (min(low, high - 0.02), high))

    def _relevant(self, values: Float[Tensor, " cell"]) -> Colours:
        known = values[torch.isfinite(values)]
        top = float(known.max()) if len(known) else _LEAST_TOP
        return self._of_levels(values, (_EVEN, max(_LEAST_TOP, top)))

    def _of_levels(self, values: Float[Tensor, " cell"], limits: tuple[float, float]) -> Colours:
        levels, table = similarity_levels(values, limits), similarity_table()
        points, pixels = (table.index_select(0, levels[cells]) for cells in (self.point_cells, self.pixel_cells))
        return Colours(points, pixels, limits)
