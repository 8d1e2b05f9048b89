"""What is looked at and how: a look is a choice of colours, a painting is what the page draws of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.viewer.answers import Answers, relevance, similarity
from lift3d.viewer.cloud import Cloud
from lift3d.viewer.places import Place

Picture8 = NDArray[np.uint8]
Colouring = Literal["photo", "features", "prediction"]

# Blue to red, as everybody reads heat; 256 colours.
_HEAT = "turbo"
_GREY = 170
# Most cells are a little like every other, and one is itself: the scale is spent on what lies between.
_SHARES = (0.1, 0.995)
# As near to the words as to the nearest of those that they are told from (LERF).
_EVEN = 0.5
# Words that are nowhere would else be found everywhere: the scale reaches this far at least.
_LEAST_TOP = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A choice of colours.

    Attributes:
        is_lifted: Lifted answers, or plain 2D ones.
        colouring: What is shown if nothing is asked for.
        point: A point of the cloud that others are compared with; None if none is.
        texts: Embedded words that all are compared with, see ``relevance``; None if there are none.
    """

    is_lifted: bool = True
    colouring: Colouring = "photo"
    point: int | None = None
    texts: Float[Tensor, "text channel"] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether something is looked for."""
        return self.point is not None or self.texts is not None


@dataclass(frozen=True, eq=False)
class Painting:
    """Colours of everything, looked up when they are asked for: the cloud's are few and wanted first.

    Attributes:
        table: Colours.
        of_points: Which of them each point of the cloud has.
        of_pixels: Which of them each pixel of the small pictures has, see ``Place``.
        limits: Values of the coldest and the hottest colour; None if colours are no heat.
    """

    table: UInt8[Tensor, "colour 3"]
    of_points: Callable[[], Int[Tensor, " point"]]
    of_pixels: Callable[[], Int[Tensor, " pixel"]]
    limits: tuple[float, float] | None = None

    @cached_property
    def points(self) -> UInt8[Tensor, "point 3"]:
        """Colours of the cloud."""
        return self.table.index_select(0, self.of_points())

    @cached_property
    def pixels(self) -> UInt8[Tensor, "pixel 3"]:
        """Colours of the small pictures."""
        return self.table.index_select(0, self.of_pixels())


@dataclass(frozen=True, eq=False)
class ViewedScene:
    """One operator's answers in one scene, ready to be coloured. Reads nothing any more.

    Attributes:
        places: The views.
        cloud: Surface points.
        photos: The images, pixels of the small pictures; None if they cannot be read any more.
        lifted: Lifted answers.
        plain: 2D answers; None if the run has none, as for novel cameras.
        kind: Of the predictions; an embedding is its features.
        view_count: Views that the store holds; no more than the first few hundred, evenly, are shown.
    """

    places: tuple[Place, ...]
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
        return [place.camera for place in self.places]

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

    def paint(self, look: Look) -> Painting:
        """Return the colours of a look."""
        answers = self.answers(look.is_lifted)
        if look.point is not None:
            return self._alike(self.similarity(look))
        if look.texts is not None:
            return self._relevant(relevance(answers.unit, look.texts))
        if look.colouring == "features":
            return self._of_cells(answers.directions)
        pixels = self.photos if look.colouring == "photo" else answers.prediction
        if pixels is None:
            pixels = torch.full((self._pixel_count, 3), _GREY, dtype=torch.uint8)
        return Painting(pixels, lambda: self.point_pixels, lambda: torch.arange(len(pixels)))

    def similarity(self, look: Look) -> Float[Tensor, " cell"]:
        """Return the cosine between every cell and the look's point; NaN if the kind says nothing there."""
        unit = self.answers(look.is_lifted).unit
        if look.point is None:
            return torch.full((len(unit),), torch.nan)
        return similarity(unit, unit[self.point_cells[look.point]][None].float())[0]

    @cached_property
    def point_cells(self) -> Int[Tensor, " point"]:
        """The cell of each point of the cloud."""
        return self._per_point("cells_at")

    @cached_property
    def point_pixels(self) -> Int[Tensor, " point"]:
        """The small picture's pixel of each point of the cloud."""
        return self._per_point("pixels_at")

    @cached_property
    def pixel_cells(self) -> Int[Tensor, " pixel"]:
        """The cell that each pixel of the small pictures shows."""
        return torch.cat([place.cells_at(place.pixel_centers()).flatten() for place in self.places])

    def picture(self, pixels: UInt8[Tensor, "pixel 3"], index: int) -> Picture8:
        """Return the small picture of one view, (height, width, 3)."""
        place = self.places[index]
        height, width = place.picture.height, place.picture.width
        window = pixels[place.first_pixel : place.first_pixel + height * width]
        picture: Picture8 = window.reshape(height, width, 3).numpy()
        return picture

    @property
    def _pixel_count(self) -> int:
        last = self.places[-1]
        return last.first_pixel + last.picture.height * last.picture.width

    def _per_point(self, method: str) -> Int[Tensor, " point"]:
        found = torch.zeros(len(self.cloud.view), dtype=torch.int64)
        for index, place in enumerate(self.places):
            own = self.cloud.view == index
            found[own] = getattr(place, method)(self.cloud.uv[own])
        return found

    def _of_cells(self, colours: UInt8[Tensor, "cell 3"]) -> Painting:
        return Painting(colours, lambda: self.point_cells, lambda: self.pixel_cells)

    def _alike(self, cosines: Float[Tensor, " cell"]) -> Painting:
        known = _some(cosines[torch.isfinite(cosines)]).sort().values
        if len(known) == 0:
            return self._of_cells(torch.full((len(cosines), 3), _GREY, dtype=torch.uint8))
        low, high = (float(known[round(share * (len(known) - 1))]) for share in _SHARES)
        # Where everything is alike, the scale still has a length.
        return self._of_levels(cosines, (min(low, high - 0.02), high))

    def _relevant(self, values: Float[Tensor, " cell"]) -> Painting:
        known = values[torch.isfinite(values)]
        top = float(known.max()) if len(known) else _LEAST_TOP
        return self._of_levels(values, (_EVEN, max(_LEAST_TOP, top)))

    def _of_levels(self, values: Float[Tensor, " cell"], limits: tuple[float, float]) -> Painting:
        levels = heat_levels(values, limits)
        return Painting(heat_table(), lambda: levels[self.point_cells], lambda: levels[self.pixel_cells], limits)


def heat_levels(values: Float[Tensor, " value"], limits: tuple[float, float]) -> Int[Tensor, " value"]:
    """Return the row of ``heat_table`` for each value; missing ones have the last."""
    scaled = (values - limits[0]).mul_(255 / (limits[1] - limits[0])).clamp_(0, 255).round_()
    return scaled.nan_to_num_(nan=256).to(torch.int32)


def heat_table() -> UInt8[Tensor, "257 3"]:
    """Return the colours from blue to red, and grey for what is missing."""
    return torch.cat([torch.from_numpy(heat_scale(256)), torch.full((1, 3), _GREY, dtype=torch.uint8)])


def heat_scale(count: int) -> Picture8:
    """Return the scale's colours from cold to hot, (count, 3)."""
    scale: Picture8 = np.round(255 * colormaps[_HEAT](np.linspace(0, 1, count))[:, :3]).astype(np.uint8)
    return scale


def _some(values: Float[Tensor, " value"]) -> Float[Tensor, " some"]:
    """Return about 50,000 of the values, evenly: as good for a quantile, and sorted at once."""
    return values[:: max(1, len(values) // 50_000)]


def evenly(names: Sequence[str], most: int) -> list[str]:
    """Return all names, or ``most`` of them evenly."""
    if len(names) <= most:
        return list(names)
    return [names[round(index)] for index in np.linspace(0, len(names) - 1, most)]
