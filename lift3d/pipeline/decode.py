"""Decode: lifted features through the frozen decoder, beside the plain answer."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedFeatures, LiftedView, Prediction
from lift3d.domain.scene import Frame
from lift3d.domain.target import Target
from lift3d.geometry.holes import fill_from_nearest
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import normalized_coordinates
from lift3d.operators.protocol import Operator
from lift3d.pipeline.bounded_cache import BoundedCache
from lift3d.pipeline.digests import operator_digest
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.quantities import own_answer

# A prediction pixel stands on something seen if at least half of its ray's probability is.
COVERED = 0.5
# What views say of themselves is asked for twice, as the plain answer and on the surface, soon one after the other.
KEPT_BYTES = 2**28


class Answers:
    """What operators say of single views, decoded once and kept for whoever asks again."""

    def __init__(self, inputs: SceneInputs) -> None:
        self._inputs = inputs
        self._kept: BoundedCache[Prediction] = BoundedCache(lambda one: one.values.nbytes, KEPT_BYTES)

    def of(self, operator: Operator, state: SceneState, view: ViewId) -> Prediction:
        """Return the answer of the frozen decoder to a view's own features."""

        def decoded() -> Prediction:
            size = self._inputs.frame(view).camera.size
            return answer_to(self._inputs.features(operator, view), operator, state, size)

        return self._kept.get(operator_digest(operator.spec) + view, decoded)


def answer_to(maps: tuple[FeatureMap, ...], operator: Operator, state: SceneState, size: ImageSize) -> Prediction:
    """Return what the frozen decoder makes of features, where these lie."""
    with torch.inference_mode():
        said = operator.decode(maps, state, size)
    device = maps[0].values.device
    return Prediction(said.kind, said.values.to(device), said.is_valid.to(device))


def decode_view(
    operator: Operator, state: SceneState, lifted: tuple[LiftedFeatures, ...], size: ImageSize
) -> Prediction:
    """Close holes, run the frozen decoder, and mark what does not stand on anything seen."""
    prediction = answer_to(filled_features(lifted), operator, state, size)
    first = lifted[0]
    is_covered = at_pixels(first.coverage >= COVERED, first.features.grid, *prediction.is_valid.shape)
    return Prediction(prediction.kind, prediction.values, prediction.is_valid & is_covered)


def plain_view(
    operator: Operator,
    state: SceneState,
    target: Target,
    frame: Frame,
    maps: tuple[FeatureMap, ...],
    answer: Prediction | None = None,
) -> LiftedView:
    """Return the plain 2D answer on the true image in the form of a lifted view: the row raw2d of every table.

    It is in the units of the scene, as lifted views are (``quantities.own_answer``). ``answer`` is what the decoder
    makes of its maps, if that is known. SceneError if the state does not place it there (``missing_of``).
    """
    maps = own_answer(maps, operator.spec.quantity, state, target.id)
    lifted = tuple(
        LiftedFeatures(
            one,
            torch.ones(one.grid.rows, one.grid.cols),
            torch.full((one.grid.rows, one.grid.cols), torch.nan),
        )
        for one in maps
    )
    if answer is None:
        answer = answer_to(maps, operator, state, frame.camera.size)
    return LiftedView(target.id, frame.camera, lifted, answer, (target.id,))


def at_pixels(
    flags: Bool[Tensor, "row col"], grid: FeatureGrid, height: int, width: int
) -> Bool[Tensor, "height width"]:
    """Return the flag of the cell that each pixel lies in, or of the nearest one outside the grid.

    Flags that are as many as the pixels are those of the pixels already: an embedding stays on its grid.
    """
    if tuple(flags.shape) == (height, width):
        return flags
    strides, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    at = normalized_coordinates(cell_centers(height, width), grid.rows, grid.cols, strides, origin)
    values = flags[None, None].float()
    return F.grid_sample(values, at[None], mode="nearest", padding_mode="border", align_corners=False)[0, 0] > 0


def filled_features(lifted: tuple[LiftedFeatures, ...]) -> tuple[FeatureMap, ...]:
    """Return features with every hole filled from its nearest covered cell."""
    return tuple(
        FeatureMap(
            fill_from_nearest(one.features.values, one.coverage > 0),
            one.features.grid,
            one.features.global_tokens,
        )
        for one in lifted
    )
