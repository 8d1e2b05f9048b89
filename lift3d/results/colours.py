"""Predictions and features as pictures, in colours that one scene's views share, so that the eye can compare them."""

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.lifted import LiftedView, Prediction
from lift3d.pipeline.decode import filled_features

Picture = NDArray[np.float32]

# What stands on nothing that was seen, and what has no value.
UNKNOWN_GREY = 0.5
# The golden ratio's conjugate spreads hues of consecutive ids as far apart as can be.
_HUE_STEP = 0.61803398875
_PCA_CELLS = 20000
# A range that reaches the few values that lie far out leaves the others one colour.
_RANGE_SHARES = (0.01, 0.99)
# Brightness of the two stripes of a place that is hidden, and how many of them there are on the height of a picture.
_HATCH, _STRIPES = (0.92, 0.7), 40
# Beside the 256 colours of what is like and unlike, the grey of what is missing.
_SIMILARITY_GREY = 170


@dataclass(frozen=True, slots=True, eq=False)
class ScenePca:
    """Three directions of most variance over features of a scene, with fixed signs and range.

    A PCA per image would flicker from view to view and look like inconsistency.
    """

    mean: Float[Tensor, " channel"]
    directions: Float[Tensor, "channel 3"]
    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]

    @classmethod
    def of(cls, cells: Float[Tensor, "cell channel"]) -> "ScenePca":
        """Fit on features of some cells."""
        cells = cells.double()
        mean = cells.mean(0)
        spread = cells - mean
        # Of the products of channels, not of the cells, which are many: a fifth of the time.
        _, ascending = torch.linalg.eigh(spread.T @ spread)
        directions = torch.zeros(cells.shape[1], 3, dtype=torch.float64)
        count = min(3, *cells.shape)
        directions[:, :count] = ascending.flip(1)[:, :count]
        # A direction and its negative are equally good: the largest entry is made positive.
        largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
        directions = directions * torch.where(largest < 0, -1.0, 1.0)
        projected = spread @ directions
        low, high = (torch.quantile(projected, share, dim=0) for share in _RANGE_SHARES)
        return cls(mean, directions, low, torch.maximum(high, low + 1e-9))

    def picture(self, values: Float[Tensor, "channel row col"]) -> Picture:
        """Return features as RGB; missing cells grey."""
        cells = values.flatten(1).T.double()
        colour = ((cells - self.mean) @ self.directions - self.low) / (self.high - self.low)
        colour = torch.where(torch.isfinite(colour), colour.clamp(0, 1), UNKNOWN_GREY)
        return colour.reshape(*values.shape[1:], 3).float().numpy()


@dataclass(frozen=True, slots=True, eq=False)
class SceneColours:
    """Colours of one operator in one scene: one basis, one palette, one range (``limits``) of heat, for all views."""

    pca: ScenePca
    limits: tuple[float, float]

    @classmethod
    def of(cls, views: Iterable[LiftedView], count: int) -> "SceneColours":
        """Fit on about 20,000 cells of ``count`` views, which are looked at one after the other."""
        cells, ends = [], []
        for view in views:
            features = filled_features(view.lifted)[0]
            step = max(1, features.grid.cell_count * count // _PCA_CELLS)
            cells.append(features.values.flatten(1)[:, ::step].T)
            if view.prediction.kind in ("scalar", "embedding"):
                strength = _strength(view.prediction).numpy()
                known = strength[np.isfinite(strength)]
                ends += [np.quantile(known, _RANGE_SHARES)] if known.size else []
        low, high = np.stack(ends).T if ends else ([0.0], [1.0])
        # Of no view at all nothing is drawn, in whatever colours.
        some = torch.cat(cells) if cells else torch.zeros(1, 3)
        return cls(ScenePca.of(some), (float(min(low)), float(max(high))))

    def picture(self, prediction: Prediction) -> Picture:
        """Return a prediction as RGB at its own size, grey where it stands on nothing that was seen."""
        values, kind = prediction.values, prediction.kind
        if kind == "labels":
            picture = label_picture(values)
        elif kind == "masks":
            picture = label_picture(values.argmax(0))
        elif kind == "image":
            picture = values.clamp(0, 1).permute(1, 2, 0).float().numpy()
        elif kind == "scalar" or len(values) != len(self.pca.mean):
            # Also an embedding that the decoder made of other channels: the scene's PCA does not know them.
            picture = heat_picture(_strength(prediction), self.limits)
        else:
            picture = self.pca.picture(values)
        seen: Picture = np.where(prediction.is_valid.numpy()[..., None], picture, np.float32(UNKNOWN_GREY))
        return seen


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
    return heat_picture(difference.clamp(0, 1))


def heat_picture(values: Float[Tensor, "row col"], limits: tuple[float, float] = (0.0, 1.0)) -> Picture:
    """Return a scalar map in colours; missing values grey."""
    scaled = ((values - limits[0]) / max(limits[1] - limits[0], 1e-9)).clamp(0, 1).nan_to_num(0.0)
    picture: Picture = (_in_colours(scaled.numpy(), cv2.COLORMAP_MAGMA) / 255).astype(np.float32)
    picture[~torch.isfinite(values).numpy()] = UNKNOWN_GREY
    return picture


def hatched(picture: Picture, is_hidden: Bool[ndarray, "row col"]) -> Picture:
    """Return a picture with pale stripes where something is hidden, by a map of any size: black would be a colour.

    What is narrower than a stripe is pale all over.
    """
    if not is_hidden.any():
        return picture
    height, width = picture.shape[:2]
    hidden = cv2.resize(is_hidden.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    wide = max(1, height // _STRIPES)
    is_striped = cv2.morphologyEx(hidden, cv2.MORPH_OPEN, np.ones((2 * wide, 2 * wide), np.uint8)) > 0
    stripe = is_striped & ((np.add(*np.ogrid[:height, :width]) // wide) % 2 > 0)
    drawn: Picture = np.where(
        hidden[..., None] > 0, np.array(_HATCH, np.float32)[stripe.astype(int)][..., None], picture
    )
    return drawn


def label_picture(labels: Tensor) -> Picture:
    """Return label ids as colours that depend on the id alone; unknown ids grey."""
    ids, inverse = torch.unique(labels, return_inverse=True)
    picture: Picture = label_colours(ids.tolist())[inverse.numpy()]
    return picture


def label_colours(ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the colour of each label, (label, 3)."""
    return np.array([_label_colour(one) for one in ids], dtype=np.float32).reshape(-1, 3)


def similarity_levels(values: Float[Tensor, " value"], limits: tuple[float, float]) -> Int[Tensor, " value"]:
    """Return the row of ``similarity_table`` for each value; missing ones have the last."""
    scaled = (values - limits[0]).mul_(255 / (limits[1] - limits[0])).clamp_(0, 255).round_()
    return scaled.nan_to_num_(nan=256).to(torch.int32)


def similarity_table() -> UInt8[Tensor, "257 3"]:
    """Return the colours from unlike to alike, and grey for what is missing."""
    scale = _in_colours(np.linspace(0, 1, 256, dtype=np.float32)[:, None], cv2.COLORMAP_TURBO)[:, 0]
    return torch.from_numpy(np.concatenate([scale, np.full((1, 3), _SIMILARITY_GREY, np.uint8)]))


def similarity_opacity() -> Int[Tensor, " 257"]:
    """Return how much of each colour of ``similarity_table`` is shown, of 256: all of it from the middle on."""
    return torch.cat([(2 * torch.arange(256)).clamp(max=256), torch.tensor([256])]).to(torch.int32)


def _in_colours(values: Float[ndarray, "row col"], scale: int) -> UInt8[ndarray, "row col 3"]:
    """Return values in [0, 1] as colours; OpenCV counts channels from blue."""
    return np.asarray(cv2.applyColorMap(np.rint(values * 255).astype(np.uint8), scale)[..., ::-1])


def to_bytes(picture: Picture) -> NDArray[np.uint8]:
    """Return colours in [0, 1] with 8 bits; missing ones grey."""
    pixels: NDArray[np.uint8] = np.round(255 * np.clip(np.nan_to_num(picture, nan=UNKNOWN_GREY), 0, 1)).astype(np.uint8)
    return pixels


def _label_colour(label: int) -> tuple[float, float, float]:
    if label < 0:
        return (UNKNOWN_GREY,) * 3
    return colorsys.hsv_to_rgb((label * _HUE_STEP) % 1.0, 0.65, 0.95 - 0.25 * (label % 3) / 2)


def _strength(prediction: Prediction) -> Float[Tensor, "row col"]:
    """Return scalars as they are, and how long the vectors of an embedding are."""
    return prediction.values if prediction.kind == "scalar" else prediction.values.norm(dim=0)
