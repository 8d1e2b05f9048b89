"""What adapters share: features at the pixels, answers that are valid everywhere, members that most operators have."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction, PredictionKind
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample


class Unfitted:
    """An operator that needs nothing of all views."""

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the empty state."""
        return EMPTY_STATE


class Encoder(Unfitted):
    """An operator whose answer is its features."""

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the features themselves, on their grid."""
        is_valid = torch.ones(features[0].grid.shape, dtype=torch.bool)
        return Prediction("embedding", features[0].values, is_valid)


def valid_everywhere(size: ImageSize) -> Bool[Tensor, "height width"]:
    """Return the validity of an answer that says something of every pixel."""
    return torch.ones(size.height, size.width, dtype=torch.bool)


def pixel_grid(size: ImageSize) -> FeatureGrid:
    """Return the grid with a cell on every pixel."""
    return FeatureGrid(size.height, size.width, 1.0, 1.0)


def at_pixels(
    values: Float[Tensor, "channel row col"], grid: FeatureGrid, size: ImageSize
) -> Float[Tensor, "channel height width"]:
    """Read values of cells bilinearly at the pixel centres."""
    if grid == pixel_grid(size):
        return values
    return sample(values, cell_centers(size.height, size.width), *grid.placement)


def resized(
    values: Float[Tensor, "*image channel row col"], size: ImageSize
) -> Float[Tensor, "*image channel height width"]:
    """Return a map that covers an image, at the image's size: enlarged bilinearly, or averaged so that nothing aliases.

    Unlike ``at_pixels``, cells need not be known: they tile the image.
    """
    shape = (size.height, size.width)
    if tuple(values.shape[-2:]) == shape:
        return values
    images = values.reshape(-1, *values.shape[-3:])
    found = functional.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
    return found.reshape(*values.shape[:-2], *shape)


def pixel_map(values: Float[Tensor, "channel height width"]) -> FeatureMap:
    """Return values of pixels as features, a cell on every pixel."""
    return FeatureMap(values, pixel_grid(ImageSize(*values.shape[-2:])))


def as_prediction(kind: PredictionKind, values: Float[Tensor, "channel row col"], size: ImageSize) -> Prediction:
    """Return labels from scores (or ids), an image in [0, 1], a scalar or masks, at a size."""
    is_valid = valid_everywhere(size)
    if kind == "labels" and (len(values) == 1 or not values.is_floating_point()):
        ids = functional.interpolate(values[None].float(), (size.height, size.width), mode="nearest-exact")[0, 0]
        return Prediction("labels", ids.round().long(), is_valid)
    values = resized(values.float(), size)
    if kind == "labels":
        return Prediction("labels", values.argmax(0), is_valid)
    if kind == "image" and len(values) != 3:
        raise ContractError(f"An answer of kind 'image' has {len(values)} channels; expected 3, red first.")
    values = values.clamp(0, 1) if kind == "image" else values
    return Prediction(kind, values[0] if kind == "scalar" else values, is_valid)
