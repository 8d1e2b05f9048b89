"""The positional field: what an operator's features owe to where a cell sits in the image, not to what is there.

A transformer adds an embedding of its place to every patch, and part of it is still in the features. Blending moves
features from other places of other views, and so brings the sources' places along. The field is estimated per scene as
the mean over views of the features at each cell. An operator whose ``fit_scene`` returns one has it subtracted from
what lifters compare and blend, and that of the target's cell added to the result (``pipeline.lift_features``).

The mean cannot tell a place from what usually stands there (the object in the middle of most captures). Where the
network's own field is weaker than that, subtracting it loses; ``lift3d bench lifters`` with both names tells.

Weights of a cell sum to 1, so lifted features stay a linear combination of raw ones plus a constant of the scene.

Source:
    Yang et al., Denoising Vision Transformers, ECCV 2024: features as content plus a field of positions shared by all
    images. There it is fitted by a network; the mean is its simplest estimate.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedFeatures
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError, SceneError
from lift3d.operators.answers import Encoder
from lift3d.operators.names import OperatorName

OPTION = "positional_field"
# Keys of a state, by the number of the cut.
_VALUES, _GRID = f"{OPTION}_{{}}", f"{OPTION}_{{}}_grid"
_CHOICES = ("keep", "subtract")


class FieldEncoder(Encoder):
    """An encoder whose name may say ``positional_field=subtract``; the default is keep."""

    def __init__(self, name: OperatorName) -> None:
        choice = name.option(OPTION, _CHOICES[0])
        if choice not in _CHOICES:
            raise ConfigError(
                f"Option '{OPTION}' of operator '{name}' must be {' or '.join(_CHOICES)}, got '{choice}'."
            )
        self._wants_field = choice == _CHOICES[1]

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the positional field if the name asks for it, else the empty state."""
        return fit_field(maps) if self._wants_field else EMPTY_STATE


def fit_field(maps: Mapping[ViewId, tuple[FeatureMap, ...]]) -> SceneState:
    """Return the mean over views of every cut's features, per cell, float32, and the grids they lie on.

    The state is what ``fit_scene`` returns; an operator that fits more adds its own arrays. SceneError if there is no
    view, or two views differ in their grids.
    """
    # In one order, so that the sum has the same bits whatever the mapping's.
    names = sorted(maps)
    if not names:
        raise SceneError("A positional field is the mean over views; got no view to fit it on. Add source views.")
    first = maps[names[0]]
    sums = [one.values.to(torch.float64, copy=True) for one in first]
    for name in names[1:]:
        for total, one, other in zip(sums, first, maps[name], strict=True):
            _check_grid(other.grid, one.grid, name)
            total += other.values
    arrays: dict[str, Tensor] = {}
    for cut, (total, one) in enumerate(zip(sums, first, strict=True)):
        arrays[_VALUES.format(cut)] = (total / len(names)).to(torch.float32)
        arrays[_GRID.format(cut)] = torch.tensor(list(one.grid.to_json().values()), dtype=torch.float64)
    return SceneState(arrays)


def field_of(state: SceneState, cut: int) -> FeatureMap | None:
    """Return the field of a cut that a state holds; None if it holds none."""
    if _VALUES.format(cut) not in state.arrays:
        return None
    rows, cols, *places = state.arrays[_GRID.format(cut)].tolist()
    return FeatureMap(state.arrays[_VALUES.format(cut)], FeatureGrid(int(rows), int(cols), *places))


def without_field(features: FeatureMap, field: FeatureMap | None) -> FeatureMap:
    """Return features less the field; the same object if there is none. Global tokens have no place and stay.

    SceneError if they lie on another grid than the field.
    """
    if field is None:
        return features
    _check_grid(features.grid, field.grid)
    return replace(features, values=features.values - field.values)


def with_field(lifted: LiftedFeatures, field: FeatureMap | None) -> LiftedFeatures:
    """Return lifted features plus the field at the target's own cells; uncovered cells stay NaN.

    SceneError if they lie on another grid than the field.
    """
    if field is None:
        return lifted
    _check_grid(lifted.features.grid, field.grid)
    return replace(lifted, features=replace(lifted.features, values=lifted.features.values + field.values))


def _check_grid(got: FeatureGrid, expected: FeatureGrid, view: ViewId | None = None) -> None:
    if got != expected:
        of_view = f" of view '{view}'" if view else ""
        raise SceneError(
            f"A positional field needs all views on one grid; the features{of_view} lie on {_said(got)}, the field on "
            f"{_said(expected)}. Give all images and targets one size and shape, or leave '{OPTION}=subtract' away.",
            view=view,
        )


def _said(grid: FeatureGrid) -> str:
    return (
        f"{grid.rows}×{grid.cols} cells of {grid.stride_v:g}×{grid.stride_u:g} px "
        f"from ({grid.origin_u:g}, {grid.origin_v:g})"
    )
