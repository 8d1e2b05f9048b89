"""What an operator says in all views, plain or lifted, held small enough to be asked again at every click."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.lifted import LiftedView, Prediction
from lift3d.operators.open_vocabulary import relevancy
from lift3d.results.colours import Picture, ScenePca, heat_picture, prediction_picture
from lift3d.viewer.places import Place

# Cells that are made float32 at a time.
_CHUNK = 65536
_GREY = 128


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """All views' answers of one kind: the plain 2D ones, or the lifted ones.

    Attributes:
        unit: Features of length 1; NaN where the kind has none.
        directions: Features as colours, by the scene's PCA.
        prediction: Predictions as colours of the small pictures' pixels.
        range: Least and largest prediction if it is a scalar, else None.
    """

    unit: Float16[Tensor, "cell channel"]
    directions: UInt8[Tensor, "cell 3"]
    prediction: UInt8[Tensor, "pixel 3"]
    range: tuple[float, float] | None = None


class Gathered:
    """Answers while they are read: filled view by view, so that no more than one stored part is in memory."""

    def __init__(self, places: Sequence[Place], channel_count: int) -> None:
        """Make room for all views."""
        last = places[-1]
        cells = last.first_cell + last.grid.cell_count
        pixels = last.first_pixel + last.picture.height * last.picture.width
        self.values = torch.full((cells, channel_count), torch.nan, dtype=torch.float16)
        self._colours = torch.full((pixels, 3), _GREY, dtype=torch.uint8)
        self._scalars: Tensor | None = None
        self._pixels = pixels

    def put(self, place: Place, view: LiftedView) -> None:
        """Take one view's answer."""
        features = place.thinned(view.lifted[0].features.values)
        if tuple(features.shape) == (self.values.shape[1], place.grid.rows, place.grid.cols):
            window = slice(place.first_cell, place.first_cell + place.grid.cell_count)
            self.values[window] = features.flatten(1).T.half()
        if view.prediction.kind == "embedding":
            return  # it lies on the cells, and is coloured with them
        small = _small(view.prediction, place)
        window = slice(place.first_pixel, place.first_pixel + small.is_valid.numel())
        if small.kind == "scalar":
            if self._scalars is None:
                self._scalars = torch.full((self._pixels,), torch.nan)
            self._scalars[window] = torch.where(small.is_valid, small.values, torch.nan).flatten()
        else:
            self._colours[window] = _bytes(prediction_picture(small, NO_PCA)).reshape(-1, 3)

    def finite(self) -> Float16[Tensor, "cell channel"]:
        """Return the features of the cells that have some."""
        return self.values[torch.isfinite(self.values).all(1)]

    @property
    def scalars(self) -> Float[Tensor, " pixel"] | None:
        """Predictions, if they are scalars."""
        return self._scalars

    def answers(self, pca: ScenePca, limits: tuple[float, float] | None) -> Answers:
        """Return what was gathered, in colours that all kinds share."""
        directions = torch.empty(len(self.values), 3, dtype=torch.uint8)
        unit = self.values
        for start in range(0, len(unit), _CHUNK):
            part = slice(start, start + _CHUNK)
            chunk = unit[part].float()
            directions[part] = _bytes(pca.picture(chunk.T[..., None])[:, 0])
            # Of length 0 is what says nothing: it is like nothing.
            unit[part] = torch.nn.functional.normalize(chunk, dim=1).half()
        colours = self._colours
        if self._scalars is not None and limits is not None:
            colours = _bytes(heat_picture(self._scalars[None], limits)[0])
        return Answers(unit, directions, colours, limits)


NO_PCA = ScenePca(torch.zeros(0), torch.zeros(0, 3), torch.zeros(3), torch.ones(3))


def pca_of(features: Float16[Tensor, "cell channel"]) -> ScenePca:
    """Return the scene's three directions of most variance."""
    if len(features) == 0:
        features = torch.zeros(1, features.shape[1], dtype=torch.float16)
    grid = FeatureGrid(len(features), 1, 1.0, 1.0)
    return ScenePca.of([FeatureMap(features.T[..., None].float(), grid)], 1)


def similarity(
    unit: Float16[Tensor, "cell channel"], queries: Float[Tensor, "query channel"]
) -> Float[Tensor, "query cell"]:
    """Return the cosine between every cell and each query; NaN where a cell has no features.

    Args:
        unit: Features of length 1, or NaN.
        queries: Of any length.
    """
    wanted = torch.nn.functional.normalize(queries, dim=1)
    found = torch.empty(len(queries), len(unit))
    for start in range(0, len(unit), _CHUNK):
        found[:, start : start + _CHUNK] = wanted @ unit[start : start + _CHUNK].float().T
    return found


def relevance(unit: Float16[Tensor, "cell channel"], texts: Float[Tensor, "text channel"]) -> Float[Tensor, " cell"]:
    """Return how relevant the first text is to every cell, against the others; 0.5 is as much as to those.

    Args:
        unit: Features of length 1, or NaN.
        texts: Embedding of what is looked for, then of what it is told from.
    """
    cosines = similarity(unit, texts)
    return relevancy(cosines[:1], cosines[1:])[0]


def _small(prediction: Prediction, place: Place) -> Prediction:
    """Return a prediction at the size of the small picture; labels stay labels."""
    height, width = prediction.is_valid.shape
    rows = ((torch.arange(place.picture.height) + 0.5) * height / place.picture.height).long()
    cols = ((torch.arange(place.picture.width) + 0.5) * width / place.picture.width).long()
    values = prediction.values[..., rows[:, None], cols[None]]
    return Prediction(prediction.kind, values, prediction.is_valid[rows[:, None], cols[None]])


def _bytes(picture: Picture) -> UInt8[Tensor, "*place 3"]:
    return torch.from_numpy(np.round(255 * np.clip(np.nan_to_num(picture, nan=0.5), 0, 1)).astype(np.uint8))
