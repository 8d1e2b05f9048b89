"""Predictions and features as pictures: one palette and one PCA per scene, so that views can be compared by eye."""

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.features import FeatureMap
from lift3d.domain.lifted import Prediction

Picture = NDArray[np.float32]

# The golden ratio's conjugate spreads hues of consecutive ids as far apart as can be.
_HUE_STEP = 0.61803398875
_PCA_CELLS = 20000
_UNKNOWN_GREY = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class ScenePca:
    """Three directions of most variance over all plain 2D features of a scene, with fixed signs and range.

    A PCA per image would flicker from view to view and look like inconsistency.
    """

    mean: Float[Tensor, " channel"]
    directions: Float[Tensor, "channel 3"]
    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]

    @classmethod
    def of(cls, maps: Iterable[FeatureMap], map_count: int) -> "ScenePca":
        """Fit on an even subset of about 20,000 cells of all maps, which are looked at one after the other."""
        steps = ((one, max(1, one.grid.cell_count * map_count // _PCA_CELLS)) for one in maps)
        cells = torch.cat([one.values.flatten(1)[:, ::step].T.double() for one, step in steps])
        mean = cells.mean(0)
        _, _, right = torch.linalg.svd(cells - mean, full_matrices=False)
        directions = torch.zeros(cells.shape[1], 3, dtype=torch.float64)
        count = min(3, right.shape[0])
        directions[:, :count] = right[:count].T
        # A direction and its negative are equally good: the largest entry is made positive.
        largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
        directions = directions * torch.where(largest < 0, -1.0, 1.0)
        projected = (cells - mean) @ directions
        low, high = (torch.quantile(projected, share, dim=0) for share in (0.01, 0.99))
        return cls(mean, directions, low, torch.maximum(high, low + 1e-9))

    def picture(self, values: Float[Tensor, "channel row col"]) -> Picture:
        """Return features as RGB; missing cells grey."""
        cells = values.flatten(1).T.double()
        colour = ((cells - self.mean) @ self.directions - self.low) / (self.high - self.low)
        colour = torch.where(torch.isfinite(colour), colour.clamp(0, 1), _UNKNOWN_GREY)
        return colour.reshape(*values.shape[1:], 3).float().numpy()


def prediction_picture(prediction: Prediction, pca: ScenePca) -> Picture:
    """Return a prediction as RGB."""
    values = prediction.values
    if prediction.kind == "labels":
        return label_picture(values)
    if prediction.kind == "image":
        return values.clamp(0, 1).permute(1, 2, 0).float().numpy()
    if prediction.kind == "scalar":
        return heat_picture(values)
    if prediction.kind == "masks":
        return label_picture(values.argmax(0))
    if len(values) != len(pca.mean):
        # An embedding that the decoder made of other channels: the scene's PCA does not know them.
        return heat_picture(values.norm(dim=0))
    return pca.picture(values)


def difference_picture(plain: Prediction, lifted: Prediction) -> Picture:
    """Return how far a lifted prediction is from the plain one: dark is equal."""
    a, b = plain.values, lifted.values
    if plain.kind == "labels":
        difference = (a != b).float()
    elif plain.kind == "image":
        difference = 4 * (a - b).abs().mean(0)
    elif plain.kind == "scalar":
        difference = (a - b).abs() / (a.abs().max() + 1e-9)
    else:
        difference = 4 * (1 - torch.nn.functional.cosine_similarity(a, b, dim=0))
    return heat_picture(difference.clamp(0, 1), (0.0, 1.0))


def heat_picture(values: Float[Tensor, "row col"], limits: tuple[float, float] | None = None) -> Picture:
    """Return a scalar map in colours; missing values grey."""
    known = torch.isfinite(values)
    finite = values[known]
    low, high = limits or ((float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0))
    scaled = ((values - low) / max(high - low, 1e-9)).clamp(0, 1).nan_to_num(0.0)
    picture: Picture = colormaps["magma"](scaled.numpy())[..., :3].astype(np.float32)
    picture[~known.numpy()] = _UNKNOWN_GREY
    return picture


def label_picture(labels: Tensor) -> Picture:
    """Return label ids as colours that depend on the id alone; unknown ids grey."""
    ids, inverse = torch.unique(labels, return_inverse=True)
    colours = np.array([_label_colour(int(one)) for one in ids], dtype=np.float32)
    picture: Picture = colours[inverse.numpy()]
    return picture


def _label_colour(label: int) -> tuple[float, float, float]:
    if label < 0:
        return (_UNKNOWN_GREY,) * 3
    return colorsys.hsv_to_rgb((label * _HUE_STEP) % 1.0, 0.65, 0.95 - 0.25 * (label % 3) / 2)
