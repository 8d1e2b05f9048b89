"""Segmentation by a few strokes on one view: ``strokes:FILE?of=INNER``, for the object on all views.

What is lifted is the inner operator's features, of any encoder. Strokes (see stroke_file) say what the object, and
what is not it, looks like on the reference view: entries of features, by k-means of each stroke. Scores of cells by
their distances to entries (see stroke_scores) are cut at a threshold that is chosen on the reference view alone, from
its strokes and features, never from any truth; the other views follow.

of: the inner operator (see inner_encoder).
clusters: entries per stroke at most; default 11.

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
from lift3d.errors import ConfigError, ContractError, SceneError
from lift3d.operators.answers import at_pixels, valid_everywhere
from lift3d.operators.inner_encoder import OPTION, StandsOnInner, build_inner, unit_cells
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import Operator, OperatorSpec
from lift3d.operators.region_codebook import fit_codebook
from lift3d.operators.stroke_file import cells_under, read_strokes
from lift3d.operators.stroke_scores import far_from_most, object_scores, separating

# Of the published code of ISRF.
_CLUSTER_COUNT = 11
# How far the sides of the drawn and the encoded image may differ in ratio: rounding to whole pixels, no other crop.
_SHAPE_TOLERANCE = 0.03
_POSITIVE, _NEGATIVE, _THRESHOLD = "strokes_positive", "strokes_negative", "strokes_threshold"


class StrokesOperator(StandsOnInner):
    """Object or background for each pixel, by strokes on a reference view."""

    def __init__(self, name: OperatorName, inner: Operator) -> None:
        self._strokes = read_strokes(Path(name.argument).expanduser())
        self._clusters = name.integer("clusters", _CLUSTER_COUNT)
        if self._clusters < 1:
            raise ConfigError(f"Operator '{name}': clusters must be at least 1, got {self._clusters}.")
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
        features = self._reference(maps)[0]
        camera = views.cameras.get(self._strokes.view)
        drawn_on = self._strokes.image_size
        encoded = drawn_on if camera is None else camera.size
        self._check_shape(drawn_on, encoded)
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

    def _reference(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]]) -> tuple[FeatureMap, ...]:
        view = self._strokes.view
        if view not in maps:
            some = ", ".join(sorted(maps)[:5])
            raise SceneError(
                f"Operator '{self.spec.name}': the strokes are on view '{view}', which is none of the {len(maps)} "
                f"views that may be fitted on ({some}, …): there is no such view, or it is a target that is held "
                "out. Draw on another view, or hold out others.",
                view=view,
                operator=self.spec.name,
            )
        return maps[view]

    def _check_shape(self, drawn_on: ImageSize, encoded: ImageSize) -> None:
        ratio = drawn_on.width * encoded.height / (drawn_on.height * encoded.width)
        if abs(ratio - 1) > _SHAPE_TOLERANCE:
            raise SceneError(
                f"Operator '{self.spec.name}': strokes were drawn on {drawn_on.width}×{drawn_on.height} pixels, but "
                f"view '{self._strokes.view}' has {encoded.width}×{encoded.height}, another shape. Draw on the whole "
                "undistorted image, and give its size as [height, width].",
                view=self._strokes.view,
                operator=self.spec.name,
            )

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
            raise SceneError(
                f"Operator '{self.spec.name}': every feature cell under a positive stroke is under a negative one as "
                f"well ({grid.rows}×{grid.cols} cells). Draw farther apart, or encode at a greater height.",
                view=self._strokes.view,
                operator=self.spec.name,
            )
        return kept

    def _entries(self, strokes: Sequence[Float[Tensor, "_ channel"]]) -> Float[Tensor, "entry channel"]:
        # Every cell counts as one.
        return torch.cat(
            [fit_codebook(one, torch.ones(len(one), dtype=torch.int64), self._clusters) for one in strokes]
        )


def build(name: OperatorName) -> StrokesOperator:
    """Build the operator ``strokes``."""
    name.check((OPTION, "clusters"), "a file of strokes")
    return StrokesOperator(name, build_inner(name))
