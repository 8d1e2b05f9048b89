"""Colours of a viewed scene: of as many points and small pictures as are asked for, and not before."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from lift3d.results.colours import (
    heat_picture,
    label_picture,
    similarity_levels,
    similarity_opacity,
    similarity_table,
    to_bytes,
)
from lift3d.results.query.likeness import relevance, similarity
from lift3d.viewer.viewed_scene import GREY, Colouring, Picture8, ViewedScene

# Of cells of the first points, which are spread evenly: as good for a scale as all, and compared in a moment.
_SAMPLED = 20_000
# Most cells are a little like every other, and one is itself: the scale is spent on what lies between.
_SHARES = (0.1, 0.995)
# As near to the words as to the nearest of those that they are told from (LERF).
_EVEN = 0.5
# Words that are nowhere would else be found everywhere: the scale reaches this far at least.
_LEAST_TOP = 0.6
# What is added to the sum of three colours before their mean with it.
_PALEST = 255

Some = Int[Tensor, " some"]
Paint = Callable[[Some], UInt8[Tensor, "some 3"]]


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

    def moved(self, old: Float[Tensor, "old 3"], new: Float[Tensor, "new 3"]) -> "ColourMode":
        """Return the same of another cloud of the same surface: its points that are nearest to those asked about."""
        from scipy.spatial import cKDTree

        point, area = self.point, self.area
        if point is not None:
            point = int((new - old[point]).square().sum(1).argmin()) if len(new) else None
        if area is not None:
            _, nearest = cKDTree(old.numpy()).query(new.numpy())
            area = torch.nonzero(torch.isin(torch.from_numpy(nearest), area))[:, 0]
        return replace(self, point=point, area=area)


@dataclass(frozen=True, eq=False)
class Colours:
    """What paints points of the cloud, and pixels of the small pictures, by their numbers.

    ``limits`` are the values of the coldest and hottest colour of a scale.
    """

    viewed: ViewedScene
    of_points: Paint
    of_pixels: Paint
    limits: tuple[float, float] | None = None

    @cached_property
    def points(self) -> UInt8[Tensor, "point 3"]:
        """Of all points."""
        return self.of_points(torch.arange(len(self.viewed.cloud)))

    def picture(self, index: int) -> Picture8:
        """Return the small picture of one view, (height, width, 3)."""
        place = self.viewed.slices[index]
        own = self.of_pixels(torch.arange(place.pixels.start, place.pixels.stop))
        picture: Picture8 = own.reshape(place.picture.height, place.picture.width, 3).numpy()
        return picture


def colours_of(viewed: ViewedScene, mode: ColourMode) -> Colours:
    """Return the colours of a mode."""
    answers = viewed.answers(mode.is_lifted)
    if mode.is_asking:
        return _compared(viewed, mode)
    match mode.colouring:
        case "features":
            return _of_cells(viewed, _those(answers.directions))
        case "prediction":
            return Colours(viewed, _those(answers.at_points), _those(answers.prediction))
        case "confidence":
            return _of_cells(viewed, lambda cells: _heat(viewed.lifted.confidence[cells].float()))
        case "depth":
            near, far = viewed.distance_limits
            return _over_photos(viewed, lambda at: _heat((viewed.distances[at] - near) / (far - near)))
        case "views":
            views = viewed.surface.views
            most = float(views.max()) if len(views) else 1.0
            return _over_photos(viewed, lambda at: _heat(views[at] / most), (1.0, most))
        case "owner":
            ends = torch.tensor([place.pixels.stop for place in viewed.slices])
            owner = viewed.cloud.view
            return Colours(
                viewed, lambda at: _ids(owner[at]), lambda at: _ids(torch.searchsorted(ends, at, right=True))
            )
        case _:
            photo = viewed.surface.photo
            return _over_photos(viewed, _grey if photo is None else _those(photo))


def likeness(viewed: ViewedScene, mode: ColourMode, cells: Some | None = None) -> Float[Tensor, " some"]:
    """Return how like some cells, all if None, are to what is asked; NaN where there is no answer.

    Cosines to a point or an area, relevancies to words.
    """
    unit = viewed.answers(mode.is_lifted).unit
    some = unit if cells is None else unit.index_select(0, cells)
    if mode.texts is not None:
        return relevance(some, mode.texts)
    asked = mode.area if mode.point is None else torch.tensor([mode.point])
    if asked is None or not len(asked):
        return torch.full((len(some),), torch.nan)
    wanted = unit[viewed.point_cells[asked]].float()
    known = wanted[torch.isfinite(wanted).all(1)]
    return similarity(some, (known if len(known) else wanted).mean(0)[None])[0]


def _compared(viewed: ViewedScene, mode: ColourMode) -> Colours:
    cells = viewed.point_cells[:_SAMPLED]
    if not len(cells):
        cells = torch.arange(0, len(viewed.lifted.unit), max(1, len(viewed.lifted.unit) // _SAMPLED))
    values = likeness(viewed, mode, cells)
    known = values[torch.isfinite(values)].sort().values
    if mode.texts is not None:
        limits = (_EVEN, max(_LEAST_TOP, float(known[-1]) if len(known) else _LEAST_TOP))
    elif len(known):
        low, high = (float(known[round(share * (len(known) - 1))]) for share in _SHARES)
        # Where everything is alike, the scale still has a length.
        limits = (min(low, high - 0.02), high)
    else:
        return _of_cells(viewed, _grey)
    scale, photo = _Scale(viewed, mode, limits), viewed.surface.photo
    photo_at = _grey if photo is None else _those(photo)
    return Colours(
        viewed,
        lambda at: scale(viewed.point_cells.index_select(0, at), photo_at(at)),
        lambda at: scale(viewed.pixel_cells.index_select(0, at), viewed.photo_pixels.index_select(0, at)),
        limits,
    )


@dataclass(frozen=True, eq=False)
class _Scale:
    """Paints cells by how like they are to what is asked: few of them at once, else all, once for all.

    What is unlike shows its photograph, pale and grey, so that one sees where what is alike lies.
    """

    viewed: ViewedScene
    mode: ColourMode
    limits: tuple[float, float]

    def __call__(self, cells: Some, photo: UInt8[Tensor, "some 3"]) -> UInt8[Tensor, "some 3"]:
        """Return the colours of cells, whose photographs are given."""
        if "_levels" in self.__dict__ or 2 * len(cells) > len(self.viewed.lifted.unit):
            levels = self._levels.index_select(0, cells)
        else:
            levels = similarity_levels(likeness(self.viewed, self.mode, cells), self.limits)
        colours, shown = similarity_table().int().index_select(0, levels), similarity_opacity().index_select(0, levels)
        pale = (_PALEST + photo.int().sum(1, keepdim=True)) // 4
        return ((colours * shown[:, None] + pale * (256 - shown[:, None])) // 256).to(torch.uint8)

    @cached_property
    def _levels(self) -> Int[Tensor, " cell"]:
        return similarity_levels(likeness(self.viewed, self.mode), self.limits)


def _of_cells(viewed: ViewedScene, paint: Paint, limits: tuple[float, float] | None = None) -> Colours:
    """Return the colours of cells: of those that the points are read from, and that the pixels show."""
    return Colours(
        viewed,
        lambda at: paint(viewed.point_cells.index_select(0, at)),
        lambda at: paint(viewed.pixel_cells.index_select(0, at)),
        limits,
    )


def _over_photos(viewed: ViewedScene, points: Paint, limits: tuple[float, float] | None = None) -> Colours:
    """Return colours that only points have; the small pictures are photographs."""
    return Colours(viewed, points, lambda at: viewed.photo_pixels.index_select(0, at), limits)


def _those(colours: UInt8[Tensor, "all 3"]) -> Paint:
    return lambda at: colours.index_select(0, at)


def _grey(at: Some) -> UInt8[Tensor, "some 3"]:
    return torch.full((len(at), 3), GREY, dtype=torch.uint8)


def _heat(values: Float[Tensor, " value"]) -> UInt8[Tensor, "value 3"]:
    return torch.from_numpy(to_bytes(heat_picture(values[None])))[0]


def _ids(values: Int[Tensor, " value"]) -> UInt8[Tensor, "value 3"]:
    return torch.from_numpy(to_bytes(label_picture(values[None])))[0]
