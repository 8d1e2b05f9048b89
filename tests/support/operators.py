"""Small operators for tests: each is exact, fast and free of weights."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import OperatorSpec

Maps = tuple[FeatureMap, ...]


class IdentityOperator:
    """The image itself, one cell per pixel."""

    spec = OperatorSpec(name="identity", stage_version=1, prediction_kind="image", channel_count=3)

    def encode(self, image: Float[Tensor, "3 height width"]) -> Maps:
        return (FeatureMap(image.to(torch.float32), _pixel_grid(image)),)

    def fit_scene(self, maps: Mapping[ViewId, Maps], views: SceneViews) -> SceneState:
        return EMPTY_STATE

    def decode(self, features: Maps, state: SceneState, size: ImageSize) -> Prediction:
        return Prediction("image", at_pixels(features[0], size).clamp(0, 1), _valid(size))


class CheckerOperator:
    """A fixed random projection of colour to any number of channels, averaged over cells of stride × stride pixels.

    Linear in the image, so what lifting does to its features can be computed from the colours.
    """

    def __init__(self, channel_count: int = 8, stride: float = 4.0) -> None:
        generator = torch.Generator().manual_seed(channel_count)
        self.projection = torch.randn(channel_count, 3, generator=generator)
        self._stride = stride
        self.spec = OperatorSpec(
            name=f"checker:{channel_count}?stride={stride:g}",
            stage_version=1,
            prediction_kind="embedding",
            channel_count=channel_count,
            stride_px=float(stride),
        )

    def encode(self, image: Float[Tensor, "3 height width"]) -> Maps:
        size = ImageSize(*image.shape[-2:])
        grid = FeatureGrid.covering(size, self._stride)
        cells = torch.nn.functional.adaptive_avg_pool2d(image.to(torch.float32), (grid.rows, grid.cols))
        return (FeatureMap(torch.einsum("ck,krs->crs", self.projection, cells), grid),)

    def fit_scene(self, maps: Mapping[ViewId, Maps], views: SceneViews) -> SceneState:
        return EMPTY_STATE

    def decode(self, features: Maps, state: SceneState, size: ImageSize) -> Prediction:
        grid = features[0].grid
        return Prediction("embedding", features[0].values, _valid(ImageSize(grid.rows, grid.cols)))


def build_checker(name: OperatorName) -> CheckerOperator:
    """Build a CheckerOperator as an installed package would: from a parsed name."""
    name.check(("channels",))
    return CheckerOperator(name.integer("channels", 8))


class SegmenterOperator:
    """Three classes by the strongest colour channel, blended as one-hot scores."""

    spec = OperatorSpec(name="segmenter", stage_version=1, prediction_kind="labels", quantity="label", channel_count=3)

    def encode(self, image: Float[Tensor, "3 height width"]) -> Maps:
        one_hot = torch.nn.functional.one_hot(image.argmax(0), 3).permute(2, 0, 1).to(torch.float32)
        return (FeatureMap(one_hot.contiguous(), _pixel_grid(image)),)

    def fit_scene(self, maps: Mapping[ViewId, Maps], views: SceneViews) -> SceneState:
        return EMPTY_STATE

    def decode(self, features: Maps, state: SceneState, size: ImageSize) -> Prediction:
        return Prediction("labels", at_pixels(features[0], size).argmax(0), _valid(size))


class MeanShadeOperator(IdentityOperator):
    """Colour less the scene's mean colour: the smallest operator with a state."""

    spec = OperatorSpec(name="mean_shade", stage_version=1, prediction_kind="image", channel_count=3)

    def fit_scene(self, maps: Mapping[ViewId, Maps], views: SceneViews) -> SceneState:
        means = [maps[view][0].values.mean(dim=(1, 2)) for view in sorted(maps)]
        return SceneState({"mean": torch.stack(means).mean(0)})

    def decode(self, features: Maps, state: SceneState, size: ImageSize) -> Prediction:
        shaded = at_pixels(features[0], size) - state.arrays["mean"][:, None, None] + 0.5
        return Prediction("image", shaded.clamp(0, 1), _valid(size))


class FailingOperator(IdentityOperator):
    """Raises as soon as it is run, after a number of images that it encodes."""

    spec = OperatorSpec(name="failing", stage_version=1, prediction_kind="image", channel_count=3)

    def __init__(self, good_count: int = 0, error: Exception | None = None) -> None:
        self._left = good_count
        self._error = error or ConfigError("The operator fails, as this test wants it to.")

    def encode(self, image: Float[Tensor, "3 height width"]) -> Maps:
        if self._left == 0:
            raise self._error
        self._left -= 1
        return super().encode(image)


class NaNOperator(IdentityOperator):
    """Breaks its promise: one value of every map is NaN."""

    spec = OperatorSpec(name="nan", stage_version=1, prediction_kind="image", channel_count=3)

    def encode(self, image: Float[Tensor, "3 height width"]) -> Maps:
        values = image.to(torch.float32).clone()
        values[0, 0, 0] = torch.nan
        return (FeatureMap(values, _pixel_grid(image)),)


def at_pixels(features: FeatureMap, size: ImageSize) -> Float[Tensor, "channel height width"]:
    """Read a map at the pixel centres of an image."""
    grid = features.grid
    if grid == FeatureGrid(size.height, size.width, 1.0, 1.0):
        return features.values
    centers = cell_centers(size.height, size.width)
    strides, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    return sample(features.values, centers, strides, origin)


def _pixel_grid(image: Float[Tensor, "3 height width"]) -> FeatureGrid:
    return FeatureGrid(int(image.shape[-2]), int(image.shape[-1]), 1.0, 1.0)


def _valid(size: ImageSize) -> Tensor:
    return torch.ones(size.height, size.width, dtype=torch.bool)
