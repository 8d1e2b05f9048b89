"""What is looked at and in which colours: one operator's answers in one scene, ready to be coloured."""

from collections.abc import Mapping
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
from lift3d.results.colours import heat_picture, label_picture, similarity_levels, similarity_table, to_bytes
from lift3d.results.query.likeness import relevance, similarity
from lift3d.viewer.answers import Answers
from lift3d.viewer.surface_points import Photos, SurfaceCloud
from lift3d.viewer.view_slices import ViewSlice

Picture8 = NDArray[np.uint8]
Colouring = Literal["photo", "features", "prediction", "confidence", "depth", "views", "owner", "things"]

_GREY = 170
# Most cells are a little like every other, and one is itself: the scale is spent on what lies between.
_SHARES = (0.1, 0.995)
# As near to the words as to the nearest of those that they are told from (LERF).
_EVEN = 0.5
# Words that are nowhere would else be found everywhere: the scale reaches this far at least.
_LEAST_TOP = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class ColourMode:
    """A choice of colours: ``colouring``, or how like some points of the cloud, or embedded words, all else is.

    ``point`` is the one that was clicked, ``area`` are those that a box was drawn around.
    """

    is_lifted: bool = True
    colouring: Colouring = "photo"
    point: int | None = None
    area: Int[Tensor, " chosen"] | None = None
    texts: Float[Tensor, "text channel"] | None = None

    @property
    def is_asking(self) -> bool:
        """Whether something is compared with all else."""
        return self.point is not None or self.area is not None or self.texts is not None


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """Colours of the cloud and of the small pictures; ``limits`` are the values of the coldest and hottest, of heat."""

    points: UInt8[Tensor, "point 3"]
    pixels: UInt8[Tensor, "pixel 3"]
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class ViewedScene:
    """One operator's answers in one scene, ready to be coloured. Reads nothing any more.

    ``photos`` has those that can still be read, ``plain`` is None where the run has none, as for novel cameras, and
    ``names`` are those of the labels. The store holds ``view_count`` views; no more than the first few hundred, evenly,
    are shown.
    """

    slices: tuple[ViewSlice, ...]
    surface: SurfaceCloud
    photos: Photos
    lifted: Answers
    plain: Answers | None
    kind: str
    names: Mapping[int, str]
    view_count: int

    def __post_init__(self) -> None:
        # Worked out before the first click rather than at it.
        _ = self.point_cells, self.pixel_cells

    @property
    def cloud(self) -> Cloud:
        """The points, and which view answers for each."""
        return self.surface.cloud

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
            "photo": bool(self.photos),
            "features": True,
            "prediction": self.kind != "embedding",
            "confidence": bool(torch.isfinite(self.lifted.confidence).any()),
            "depth": True,
            "views": True,
            "owner": True,
        }
        return tuple(one for one, is_there in possible.items() if is_there)

    @property
    def has_labels(self) -> bool:
        """Whether the answers are labels, which have names and can be hidden."""
        return self.kind in ("labels", "masks")

    def answers(self, is_lifted: bool) -> Answers:
        """Return the answers of a kind; the lifted ones where there are no others."""
        return self.lifted if is_lifted or self.plain is None else self.plain

    def colours(self, mode: ColourMode) -> Colours:
        """Return the colours of a mode."""
        answers = self.answers(mode.is_lifted)
        if mode.point is not None or mode.area is not None:
            return self._alike(self.similarity(mode))
        if mode.texts is not None:
            return self._relevant(relevance(answers.unit, mode.texts))
        match mode.colouring:
            case "features":
                return self._of_cells(answers.directions)
            case "prediction":
                return Colours(answers.at_points, answers.prediction)
            case "confidence":
                return self._of_cells(_heat(self.lifted.confidence.float()))
            case "depth":
                return Colours(_heat(_spread(self._distances)), self._photo_pixels)
            case "views":
                most = float(self.surface.views.max()) if len(self.surface) else 1.0
                return Colours(_heat(self.surface.views / most), self._photo_pixels, (1.0, most))
            case "owner":
                counts = [place.pixels.stop - place.pixels.start for place in self.slices]
                owner = _ids(torch.arange(len(counts))).repeat_interleave(torch.tensor(counts), 0)
                return Colours(_ids(self.cloud.view), owner)
            case _:
                photo = self.surface.photo
                grey = torch.full((len(self.surface), 3), _GREY, dtype=torch.uint8)
                return Colours(grey if photo is None else photo, self._photo_pixels)

    def similarity(self, mode: ColourMode) -> Float[Tensor, " cell"]:
        """Return the cosine between every cell and the mode's point or area; NaN if the kind says nothing there."""
        unit = self.answers(mode.is_lifted).unit
        asked = mode.area if mode.point is None else torch.tensor([mode.point])
        if asked is None or not len(asked):
            return torch.full((len(unit),), torch.nan)
        wanted = unit[self.point_cells[asked]].float()
        known = wanted[torch.isfinite(wanted).all(1)]
        return similarity(unit, (known if len(known) else wanted).mean(0)[None])[0]

    def confidence_of_points(self) -> Float[Tensor, " point"]:
        """Return how sure the lifted answer is at each point; NaN where nobody tells."""
        return self.lifted.confidence[self.point_cells].float()

    @cached_property
    def point_cells(self) -> Int[Tensor, " point"]:
        """The cell of each point of the cloud, in the view that shows it best."""
        found = torch.zeros(len(self.cloud), dtype=torch.int64)
        for index, place in enumerate(self.slices):
            own = self.cloud.view == index
            found[own] = place.cells_at(self.cloud.uv[own])
        return found

    @cached_property
    def pixel_cells(self) -> Int[Tensor, " pixel"]:
        """The cell that each pixel of the small pictures shows."""
        return torch.cat([place.cells_at(place.pixel_centers()).flatten() for place in self.slices])

    @cached_property
    def _distances(self) -> Float[Tensor, " point"]:
        """How far each point is from the camera that shows it best."""
        centers = torch.stack([one.center for one in self.cameras])
        apart: Tensor = (self.cloud.xyz - centers[self.cloud.view]).norm(dim=1).float()
        return apart

    @cached_property
    def _photo_pixels(self) -> UInt8[Tensor, "pixel 3"]:
        """The photographs as small pictures; grey where one cannot be read."""
        pictures = []
        for place in self.slices:
            photo, size = self.photos.get(place.target), (place.picture.height, place.picture.width)
            small = torch.full((3, *size), _GREY, dtype=torch.uint8)
            if photo is not None:
                wide = torch.nn.functional.interpolate(photo[None].float(), size, mode="area")[0]
                small = wide.round().to(torch.uint8)
            pictures.append(small.flatten(1).T)
        return torch.cat(pictures)

    def picture(self, pixels: UInt8[Tensor, "pixel 3"], index: int) -> Picture8:
        """Return the small picture of one view, (height, width, 3)."""
        place = self.slices[index]
        picture: Picture8 = pixels[place.pixels].reshape(place.picture.height, place.picture.width, 3).numpy()
        return picture

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


def _heat(values: Float[Tensor, " value"]) -> UInt8[Tensor, "value 3"]:
    return torch.from_numpy(to_bytes(heat_picture(values[None])))[0]


def _spread(values: Float[Tensor, " value"]) -> Float[Tensor, " value"]:
    """Return values from 0 to 1, but for the few that lie far out."""
    known = values[:: max(1, len(values) // 50_000)]
    low, high = (float(known.quantile(share)) for share in (0.02, 0.98)) if len(known) else (0.0, 1.0)
    return (values - low) / max(high - low, 1e-9)


def _ids(values: Int[Tensor, " value"]) -> UInt8[Tensor, "value 3"]:
    return torch.from_numpy(to_bytes(label_picture(values[None])))[0]
