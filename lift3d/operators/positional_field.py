"""The positional field: what an operator's features owe to where a cell sits in the image, not to what is there.

It is estimated per scene as the mean over views of the features at each cell. An operator whose ``fit_scene`` returns
one has it subtracted from what lifters compare and blend, and that of the target's cell added to the result.

The mean cannot tell a place from what usually stands there (the object in the middle of most captures). Where the
network's own field is weaker than that, subtracting it loses; ``lift3d bench lifters`` with both names tells.

Source:
    Yang et al., Denoising Vision Transformers, ECCV 2024: features as content plus a field of positions shared by all
    images. There it is fitted by a network; the mean is its simplest estimate.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedFeatures
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import SceneError
from lift3d.operators.answers import Encoder
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.names import OperatorName
from lift3d.operators.network_weights import digest_weights
from lift3d.operators.protocol import OperatorSpec

OPTION = "positional_field"
# Keys of a state, by the number of the cut.
_VALUES, _GRID = f"{OPTION}_{{}}", f"{OPTION}_{{}}_grid"


class FieldEncoder(Encoder):
    """A library's network as an encoder; its name may say ``height=PIXELS`` and ``positional_field=subtract``."""

    def __init__(
        self, name: OperatorName, network: nn.Module, licence: str, lattice: CellLattice, channel_count: int
    ) -> None:
        self._network = network
        self.spec = OperatorSpec(
            name=str(name),
            stage_version=2,
            prediction_kind="embedding",
            licence=licence,
            weights_digest=digest_weights(network),
            channel_count=channel_count,
            stride_px=float(lattice.stride),
        )
        self._wants_field = name.choice(OPTION, ("keep", "subtract")) == "subtract"
        # What images are resized to first; 0 for their own.
        self._height = name.integer("height", 0, least=1)

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on."""
        self._network.to(device)

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the positional field if the name asks for it, else the empty state."""
        return fit_field(maps) if self._wants_field else EMPTY_STATE


def fit_field(maps: Mapping[ViewId, tuple[FeatureMap, ...]]) -> SceneState:
    """Return the mean over views of every cut's features, per cell, and the grids, as ``fit_scene`` returns it.

    SceneError if there is no view, or two views differ in their grids.
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
    rows, cols, *places = state.numbers(_GRID.format(cut))
    return FeatureMap(state.arrays[_VALUES.format(cut)], FeatureGrid(int(rows), int(cols), *places))


def without_field(features: FeatureMap, field: FeatureMap | None) -> FeatureMap:
    """Return features less the field, if there is one; global tokens have no place and stay."""
    if field is None:
        return features
    _check_grid(features.grid, field.grid)
    return replace(features, values=features.values - field.values)


def with_field(lifted: LiftedFeatures, field: FeatureMap | None) -> LiftedFeatures:
    """Return lifted features plus the field, if there is one; uncovered cells stay NaN."""
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
