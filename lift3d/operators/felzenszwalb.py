"""Graph-based segmentation: ``felzenszwalb`` (boundaries), ``felzenszwalb?as=ids&count=16`` (colour classes).

The ids of regions mean nothing in another view, so they are never blended. What means the same in every view:

- boundaries: the share of scales at which a pixel lies on the edge of a region;
- ids: the mean colour of a pixel's region. After lifting, each pixel gets the id of the nearest entry of a
  codebook fitted on the regions of all views. Ids are therefore classes of appearance, not instances: two
  chairs of one colour share an id, and a region whose colour changes with the view may change its id.

Source:
    Felzenszwalb & Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from skimage.color import rgb2lab
from skimage.segmentation import felzenszwalb, find_boundaries
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError, ContractError
from lift3d.operators.answers import Unfitted, at_pixels, pixel_map, valid_everywhere
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import OperatorSpec
from lift3d.operators.region_codebook import fit_codebook, nearest_entry

# Fine to coarse, around scikit-image's usual 100; smoothing and smallest region as in the paper's examples.
_SCALES = (50.0, 150.0, 450.0)
_ID_SCALE = 150.0
_SIGMA_PX = 0.8
_SMALLEST_REGION_PX = 20
_LAB_UNIT = 100.0


class BoundaryOperator(Unfitted):
    """How likely each pixel lies on a boundary between regions, over several scales."""

    def __init__(self, name: OperatorName) -> None:
        self.spec = OperatorSpec(
            name=str(name), stage_version=1, prediction_kind="scalar", licence="BSD-3-Clause", channel_count=1
        )

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return one channel in [0, 1], a cell per pixel."""
        pixels = _pixels(image)
        # Thick boundaries mark the pixels on both sides, so they are centred on the edge.
        edges = [find_boundaries(_regions(pixels, scale), mode="thick") for scale in _SCALES]
        share = torch.from_numpy(np.mean(edges, axis=0, dtype=np.float64)).to(torch.float32)
        return (pixel_map(share[None]),)

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the boundary probability of each pixel."""
        return Prediction(
            "scalar", at_pixels(features[0].values, features[0].grid, size)[0].clamp(0, 1), valid_everywhere(size)
        )


class AppearanceIdOperator:
    """Ids of regions that agree across views, by the mean colour of each region (see the module)."""

    def __init__(self, name: OperatorName) -> None:
        self._count = name.integer("count", 16, least=2)
        self.spec = OperatorSpec(
            name=str(name), stage_version=1, prediction_kind="labels", licence="BSD-3-Clause", channel_count=3
        )

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the mean CIELAB colour of each pixel's region, in units of 100."""
        pixels = _pixels(image)
        regions = _regions(pixels, _ID_SCALE).reshape(-1)
        colours = rgb2lab(pixels).reshape(-1, 3) / _LAB_UNIT
        sizes = np.bincount(regions)
        means = np.stack([np.bincount(regions, colours[:, axis]) / sizes for axis in range(3)])
        values = torch.from_numpy(means[:, regions]).to(torch.float32).reshape(3, *pixels.shape[:2])
        return (pixel_map(values),)

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the codebook of the regions' colours in all views; the id is the row."""
        # Regions are few and pixels many: a view at a time is reduced to its colours.
        counted = [torch.unique(maps[view][0].values.flatten(1).T, dim=0, return_counts=True) for view in sorted(maps)]
        colours, number = torch.unique(torch.cat([own for own, _ in counted]), dim=0, return_inverse=True)
        sizes = torch.zeros(len(colours), dtype=torch.int64)
        sizes.index_add_(0, number, torch.cat([count for _, count in counted]))
        return SceneState({"codebook": fit_codebook(colours, sizes, self._count)})

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the id of the codebook's entry nearest to each pixel's colour, by the state of fit_scene."""
        if "codebook" not in state.arrays:
            raise ContractError(f"Operator '{self.spec.name}' decodes with the state of fit_scene; got none.")
        colours = at_pixels(features[0].values, features[0].grid, size).flatten(1).T
        labels = nearest_entry(colours, state.arrays["codebook"]).reshape(size.height, size.width)
        return Prediction("labels", labels, valid_everywhere(size))


def build(name: OperatorName) -> BoundaryOperator | AppearanceIdOperator:
    """Build the operator ``felzenszwalb``, of either kind."""
    name.check(("as", "count"))
    if name.choice("as", ("boundaries", "ids")) == "ids":
        return AppearanceIdOperator(name)
    if name.option("count", ""):
        raise ConfigError(f"Operator '{name}': count belongs to as=ids; leave it away.")
    return BoundaryOperator(name)


def _pixels(image: Float[Tensor, "3 height width"]) -> np.ndarray:
    return image.to(torch.float64).clamp(0, 1).permute(1, 2, 0).contiguous().numpy(force=True)


def _regions(pixels: np.ndarray, scale: float) -> np.ndarray:
    return felzenszwalb(  # type: ignore[no-any-return]
        pixels, scale=scale, sigma=_SIGMA_PX, min_size=_SMALLEST_REGION_PX, channel_axis=-1
    )
