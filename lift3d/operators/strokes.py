"""Segmentation by a few strokes on one view: ``strokes:FILE?of=INNER``, for the object on all views.

What is lifted is the inner operator's features, of any encoder. Strokes (see stroke_file) say what the object, and
what is not it, looks like on the reference view: entries of features, by k-means of each stroke. Scores of cells by
their distances to entries are cut at a threshold that is chosen on the reference view alone, from
its strokes and features, never from any truth; the other views follow.

of: the inner operator (see inner_encoder).

Source:
    Goel et al., Interactive Segmentation of Radiance Fields, CVPR 2023, §3: k-means of the features under strokes, then
    the distance to the nearest of the means.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError, SceneError
from lift3d.operators.answers import at_pixels, valid_everywhere
from lift3d.operators.inner_encoder import OPTION, StandsOnInner, build_inner, unit_cells
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator, OperatorSpec
from lift3d.operators.region_codebook import fit_codebook
from lift3d.operators.stroke_file import cells_under, read_strokes

# Entries per stroke at most; of the published code of ISRF.
_CLUSTER_COUNT = 11
# How far the sides of the drawn and the encoded image may differ in ratio: rounding to whole pixels, no other crop.
_SHAPE_TOLERANCE = 0.03
# Distances below this are one to a threshold: what is left of rounding features of length 1 to float16.
_ROUNDING = 1e-3
_POSITIVE, _NEGATIVE, _THRESHOLD = "strokes_positive", "strokes_negative", "strokes_threshold"


class StrokesOperator(StandsOnInner):
    """Object or background for each pixel, by strokes on a reference view."""

    def __init__(self, name: OperatorName, inner: Operator) -> None:
        self._strokes = read_strokes(Path(name.argument).expanduser())
        own = OperatorSpec(
            name=str(name),
            stage_version=1,
            prediction_kind="labels",
            label_names=("background", self._strokes.object),
            threshold_source="reference view",
        )
        super().__init__(inner, own, strokes=self._strokes.model_dump_json())

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the inner operator's state with the entries of either sign and the threshold.

        Where no camera of the reference view is known, strokes are in pixels of the encoded image. SceneError if the
        reference view is not there or held out, is of another shape, or positive strokes have no cell for themselves.
        """
        view, drawn_on = self._strokes.view, self._strokes.image_size
        if view not in maps:
            raise self._refused(
                f"the strokes are on view '{view}', which is none of the {len(maps)} views that may be fitted on "
                f"({', '.join(sorted(maps)[:5])}, …): there is no such view, or it is a target that is held out. Draw "
                "on another view, or hold out others."
            )
        encoded = views.cameras[view].size if view in views.cameras else drawn_on
        if abs(drawn_on.width * encoded.height / (drawn_on.height * encoded.width) - 1) > _SHAPE_TOLERANCE:
            raise self._refused(
                f"strokes were drawn on {drawn_on.width}×{drawn_on.height} pixels, but view '{view}' has "
                f"{encoded.width}×{encoded.height}, another shape. Draw on the whole undistorted image, and give its "
                "size as [height, width]."
            )
        features = maps[view][0]
        cells = unit_cells(features)
        under = self._cells(features.grid, drawn_on, encoded)
        positive, negative = (
            [cells[is_under] for is_positive, is_under in under if is_positive is sign] for sign in (True, False)
        )
        entries, others = self._entries(positive), self._entries(negative) if negative else None
        if others is None:
            threshold = far_from_most(object_scores(cells, entries, None))
        else:
            threshold = separating(*(object_scores(torch.cat(own), entries, others) for own in (positive, negative)))
        own = {_POSITIVE: entries, _THRESHOLD: torch.tensor([threshold], dtype=torch.float32)}
        if others is not None:
            own[_NEGATIVE] = others
        return SceneState({**super().fit_scene(maps, views).arrays, **own})

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return 1 for the object and 0 for all else, by the state of fit_scene."""
        if _POSITIVE not in state.arrays:
            raise ContractError(f"Operator '{self.spec.name}' decodes with the state of fit_scene; got none.")
        arrays = state.arrays
        scores = object_scores(unit_cells(features[0]), arrays[_POSITIVE], arrays.get(_NEGATIVE))
        seen = at_pixels(scores.reshape(-1, *features[0].grid.shape), features[0].grid, size)[0]
        return Prediction("labels", (seen >= arrays[_THRESHOLD]).long(), valid_everywhere(size))

    def _refused(self, said: str) -> SceneError:
        name, view = self.spec.name, self._strokes.view
        return SceneError(f"Operator '{name}': {said}", view=view, operator=name)

    def _cells(
        self, grid: FeatureGrid, drawn_on: ImageSize, encoded: ImageSize
    ) -> list[tuple[bool, Bool[Tensor, " cell"]]]:
        """Return the sign of each stroke and its cells; those under both signs say nothing."""
        under = [(one.positive, cells_under(one, drawn_on, encoded, grid).flatten()) for one in self._strokes.strokes]
        signs = torch.tensor([is_positive for is_positive, _ in under])
        all_under = torch.stack([is_under for _, is_under in under])
        is_torn = all_under[signs].any(0) & all_under[~signs].any(0)
        kept = [(is_positive, is_under & ~is_torn) for is_positive, is_under in under]
        kept = [(is_positive, is_under) for is_positive, is_under in kept if bool(is_under.any())]
        if not any(is_positive for is_positive, _ in kept):
            raise self._refused(
                "every feature cell under a positive stroke is under a negative one as well "
                f"({grid.rows}×{grid.cols} cells). Draw farther apart, or encode at a greater height."
            )
        return kept

    def _entries(self, strokes: Sequence[Float[Tensor, "_ channel"]]) -> Float[Tensor, "entry channel"]:
        # Every cell counts as one.
        return torch.cat(
            [fit_codebook(one, torch.ones(len(one), dtype=torch.int64), _CLUSTER_COUNT) for one in strokes]
        )


def build(name: OperatorName) -> StrokesOperator:
    """Build the operator ``strokes``."""
    name.check((OPTION,), "a file of strokes")
    return StrokesOperator(name, build_inner(name))


def object_scores(
    cells: Float[Tensor, "cell channel"],
    positive: Float[Tensor, "entry channel"],
    negative: Float[Tensor, "other channel"] | None,
) -> Float[Tensor, " cell"]:
    """Return how much nearer cells are to the nearest positive entry (at d₊) than to the nearest negative one (at d₋).

    It is (d₋ − d₊) / (d₋ + d₊), in [−1, 1]; without negative entries it is −d₊. Cells are features at length 1.
    """
    to_positive = _nearest(cells, positive)
    if negative is None:
        return -to_positive
    to_negative = _nearest(cells, negative)
    # A cell at no distance from either is halfway.
    return (to_negative - to_positive) / (to_negative + to_positive).clamp(min=_ROUNDING)


def _nearest(cells: Float[Tensor, "cell channel"], entries: Float[Tensor, "entry channel"]) -> Float[Tensor, " cell"]:
    """Return the distance to the nearest entry; by differences, as by products a cell on an entry is not at 0."""
    return torch.cdist(cells, entries, compute_mode="donot_use_mm_for_euclid_dist").amin(1)


def separating(positive: Float[Tensor, " cell"], negative: Float[Tensor, " other"]) -> float:
    """Return the threshold that tells most of two groups of scores apart, in the middle of the widest gap that does.

    The share of positives at or above it and that of negatives below it are summed (Youden's J plus 1).

    Source:
        Youden, Index for rating diagnostic tests, Cancer 1950.
    """
    scores = torch.unique(torch.cat([positive, negative]))
    if len(scores) < 2:
        return float(scores[0])
    middles = (scores[1:] + scores[:-1]) / 2
    gaps = scores[1:] - scores[:-1]
    told = (positive[:, None] >= middles).double().mean(0) + (negative[:, None] < middles).double().mean(0)
    best = told >= told.max()
    return float(middles[best][gaps[best].argmax()])


def far_from_most(scores: Float[Tensor, " cell"]) -> float:
    """Return the threshold of scores −d on a view without negative strokes: Otsu's, of the logarithms of d.

    Objects are a small part of most views, and their distances a small part of the range: ratios tell them apart. The
    cut is exact; a histogram's would lie at the edge of a gap. The threshold is in the middle of the gap in distances:
    of scores that are interpolated from an object's cell to one beside it, half is the object's.

    Source:
        Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE Trans. SMC 1979, eq. 18.
    """
    distances = (-scores.double()).clamp(min=_ROUNDING).sort().values
    ordered = distances.log()
    if ordered[0] == ordered[-1]:
        return float(scores.min())
    below = torch.arange(1, len(ordered), dtype=torch.float64)
    sums = ordered.cumsum(0)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (len(ordered) - below)
    between = below * (len(ordered) - below) * (means[1] - means[0]).square()
    cut = int(between.argmax())
    return -float(distances[cut] + distances[cut + 1]) / 2
