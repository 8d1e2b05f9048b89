"""Stereo where photographs have texture, and elsewhere the depth that a network sees in each of them, held to stereo.

Letters: anchors are cells of a view that are textured and whose stereo is sure; t is log disparity by stereo, q by the
network, placed among this view's anchors by scale and shift. What the network is wrong by at anchors is carried to the
cells between them (``diffused``), so that it meets stereo at their borders; then views vote, as they do for stereo.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import ContractError, NonFiniteError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample
from lift3d.operators.depth_alignment import converted, fit_lines
from lift3d.operators.protocol import Operator, PrecomputedOperator
from lift3d.surface.catalog import SWEEP
from lift3d.surface.depth_spans import depth_span, frustum_probes
from lift3d.surface.diffusion import diffused
from lift3d.surface.fusion import DepthVotes, settled
from lift3d.surface.held import held
from lift3d.surface.neighbours import FUSED, angles_to, choose_views
from lift3d.surface.protocol import GeometrySpec
from lift3d.surface.sweep import SweepGeometry
from lift3d.surface.texture import averaged, texturedness

# Product of texture and confidence from which on a cell is an anchor.
_ANCHOR = 0.3
# A view with fewer anchors keeps stereo.
_FEWEST_ANCHORS = 100
# Nothing is nearer or farther than the anchors by more than this factor.
_BEYOND = 2.0
# Squares that are hidden to see how well the network tells them, in shares of the shorter side; views that are asked.
_HIDDEN_SHARE, _ASKED_VIEWS = 1 / 3, 12
# Error of log disparity at which what the network says is half sure; how stiff it is, as in ``diffused``, against
# stereo if it tells no more than surroundings do, and at most.
_HALF_SURE, _STIFFNESS, _STIFFEST = 0.05, 0.11, 1e4
# Relative difference of depths within which views that vote speak of one surface: half of stereo's, since what is voted
# on is smooth.
_TOLERANCE = 0.04
_SUREST = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What stereo and the network say of one view, on the cells of stereo.

    ``log_disparity`` is stereo's, NaN where unknown; ``prior`` the network's, placed in the scene; ``trust`` is in
    [0, 1], 0 where stereo is unknown or has no texture to match.
    """

    log_disparity: Float[ndarray, "row col"]
    prior: Float[ndarray, "row col"]
    trust: Float[ndarray, "row col"]
    confidence: Float[ndarray, "row col"]
    color: Float[ndarray, "3 row col"]

    @property
    def is_anchor(self) -> Bool[ndarray, "row col"]:
        return self.trust > _ANCHOR

    @property
    def weight(self) -> Float[ndarray, "row col"]:
        """How much stereo counts in each cell: where it has little to match, it counts little, but for many cells."""
        weight: Float[ndarray, "row col"] = (self.trust / (1 - np.minimum(self.confidence, _SUREST))) ** 2
        return weight

    def completed(self, gain: float) -> Float[ndarray, "row col"]:
        """Return log disparity everywhere, by a network that errs so many times less than the surroundings do."""
        # Stereo without texture errs alike in neighbouring cells, which tell little more than one.
        stiffness = min(_STIFFNESS * gain**6, _STIFFEST)
        (told,) = diffused(self.log_disparity, self.weight, [self.prior], self.color, stiffness)
        return told

    def across(self, is_hidden: Bool[ndarray, "row col"]) -> list[Float[ndarray, "row col"]]:
        """Return log disparity as it is told with some cells hidden: with the network, and without it."""
        weight = np.where(self.is_anchor & ~is_hidden, self.weight, 0.0)
        shapes = [self.prior, np.zeros_like(self.prior)]
        return diffused(self.log_disparity, weight, shapes, self.color)


class PriorGeometry:
    """Multi-view stereo, completed by what a network sees in each view: depth or disparity, up to scale and shift.

    Cells with texture keep stereo bit for bit, and so does everything if the network tells hidden squares of the
    views no better than their surroundings do.
    """

    def __init__(self, spec: GeometrySpec, operator: Operator, sweep: SweepGeometry | None = None) -> None:
        self.spec = spec
        self._operator, self._sweep = operator, sweep or SweepGeometry()

    @torch.no_grad()
    def estimate(
        self, views: Sequence[SourceGuide], depth_range: DepthRange, find_tracks: Callable[[], Tracks]
    ) -> SceneGeometry:
        """Return depth and confidence of every view, and notes on what became of the network's.

        Memory beyond stereo's is 20 bytes a cell of all views, and 2 kB a cell of the view at work.

        Raises:
            NoOverlapError: As stereo does.
            ContractError: If the network gives anything but one finite map of one channel per view.
        """
        stereo = self._sweep.estimate(views, depth_range, find_tracks)
        places = {view.id: place for place, view in enumerate(views)}
        order = sorted(places)
        seen: dict[ViewId, _Seen] = {}
        for name in order:
            one = self.seen(views[places[name]], stereo.views[name])
            if one is not None:
                seen[name] = one
        name, lacking = self._operator.spec.name, len(order) - len(seen)
        notes = [] if not lacking else [f"{lacking} of {len(order)} views keep stereo alone: {_LACKING.format(name)}"]
        if not seen:
            return SceneGeometry(self.spec.name, stereo.views, tuple(notes))
        error, error_without = _errors([*seen.values()])
        if not error < error_without:
            notes.append(
                f"'{name}' is not used: it tells hidden squares of the views to {error:.1%} of depth, their "
                f"surroundings alone to {error_without:.1%}. Stereo stands as it is."
            )
            return SceneGeometry(self.spec.name, stereo.views, tuple(notes))
        notes.append(
            f"'{name}' fills what has no texture: it tells hidden squares of the views to {error:.1%} of depth."
        )
        found = _fused({one: stereo.views[one] for one in order}, seen, (error, error_without), depth_range)
        cell_count = sum(one.grid.cell_count for one in stereo.views.values())
        fused = held(found, cell_count)
        return SceneGeometry(self.spec.name, {one: fused[one] for one in stereo.views}, tuple(notes))

    def seen(self, view: SourceGuide, stereo: ViewGeometry) -> _Seen | None:
        """Return what is known of a view; None if the network's depth has no sure, positive scale in it."""
        grid, quantity = stereo.grid, self._operator.spec.quantity
        z_depth, confidence = (one.numpy(force=True).astype(np.float64) for one in (stereo.z_depth, stereo.confidence))
        textured = texturedness(view.image, grid).numpy(force=True).astype(np.float64)
        is_known = np.isfinite(z_depth) & (confidence > 0)
        trust = np.where(is_known, confidence * textured, 0.0)
        anchor = trust > _ANCHOR
        if int(anchor.sum()) < _FEWEST_ANCHORS:
            return None
        said = self._said(view, grid)
        at_anchors = converted(torch.from_numpy(z_depth[anchor]), quantity)
        pairs, is_sure = fit_lines(torch.from_numpy(said[anchor]), at_anchors, quantity)
        if not is_sure:
            return None
        scale, shift = pairs
        near, far = z_depth[anchor].min() / _BEYOND, z_depth[anchor].max() * _BEYOND
        placed = scale * said + shift
        disparity = placed if quantity == "disparity" else 1 / placed.clip(near, far)
        return _Seen(
            np.where(is_known, -np.log(np.where(is_known, z_depth, 1.0)), np.nan),
            np.log(disparity.clip(1 / far, 1 / near)),
            trust,
            confidence,
            averaged(view.image, grid).numpy(force=True).astype(np.float64),
        )

    def _said(self, view: SourceGuide, grid: FeatureGrid) -> Float[ndarray, "row col"]:
        """Return what the network says of cells; an error that names it if that is no map of depth."""
        operator, name = self._operator, self._operator.spec.name
        if isinstance(operator, PrecomputedOperator):
            maps = operator.read(view.id, view.camera.size)
        else:
            # Pixels that are none are shown the mean of the others, so that borders make no edges.
            mean = (view.image * view.is_valid).sum(dim=(1, 2)) / view.is_valid.sum().clamp(min=1)
            maps = operator.encode(torch.where(view.is_valid, view.image, mean[:, None, None]))
        if len(maps) != 1 or maps[0].channel_count != 1:
            raise ContractError(
                f"'{name}' gave {len(maps)} map(s) of {maps[0].channel_count} channels for view '{view.id}'; a prior "
                "gives one map of one channel: z-depth, or disparity.",
                operator=name,
                view=view.id,
            )
        values = maps[0].values.float()
        if not bool(torch.isfinite(values).all()):
            raise NonFiniteError(f"'{name}' gave NaN or infinity for view '{view.id}'.", operator=name, view=view.id)
        read = sample(values, cell_centers(*grid.lattice).to(values), *maps[0].grid.placement)[0]
        return read.numpy(force=True).astype(np.float64)


_LACKING = "too few of their cells are sure, or '{}' has no positive scale there"


def aligned_alone(operator: Operator, views: Sequence[SourceGuide], stereo: SceneGeometry) -> SceneGeometry:
    """Return a network's depth alone, placed in each view by scale and shift: what completing has to be better than.

    Views in which it has no sure scale show nothing.
    """
    known, found = PriorGeometry(SWEEP, operator), {}
    for view in views:
        one, own = known.seen(view, stereo.views[view.id]), stereo.views[view.id]
        z_depth = torch.full(own.grid.shape, torch.nan) if one is None else torch.from_numpy(np.exp(-one.prior)).float()
        found[view.id] = ViewGeometry(own.camera, own.grid, z_depth, 0.5 * torch.isfinite(z_depth))
    return SceneGeometry(SWEEP.name, found)


def _errors(views: Sequence[_Seen]) -> tuple[float, float]:
    """Return how well hidden squares of a few views are told with the network, and without it: medians."""
    errors: list[Float[ndarray, "way anchor"]] = []
    for one in views[:: max(1, len(views) // _ASKED_VIEWS)]:
        rows, cols = one.trust.shape
        side = max(1, math.ceil(_HIDDEN_SHARE * min(rows, cols)))
        is_hidden = np.add.outer(np.arange(rows) // side, np.arange(cols) // side) % 2 == 0
        asked = is_hidden & one.is_anchor
        off = [np.abs(told - one.log_disparity)[asked] for told in one.across(is_hidden)]
        errors.append(np.array(off))
    with_network, without = np.median(np.concatenate(errors, axis=1), axis=1) if errors else (math.inf, math.inf)
    return float(with_network), float(without)


def _fused(
    stereo: Mapping[ViewId, ViewGeometry],
    seen: Mapping[ViewId, _Seen],
    errors: tuple[float, float],
    depth_range: DepthRange,
) -> Iterator[tuple[ViewId, ViewGeometry]]:
    """Yield the views, in their order: stereo at anchors, elsewhere what views agree on."""
    votes = [_votes(view, seen.get(name), *errors) for name, view in stereo.items()]
    cameras = [view.camera for view in stereo.values()]
    for own, (name, view) in enumerate(stereo.items()):
        if name not in seen:
            yield name, view
            continue
        others = [votes[place] for place in _partners(view, cameras, depth_range)]
        agreed = settled(votes[own], others, _TOLERANCE)
        is_anchor = torch.as_tensor(seen[name].is_anchor).to(view.z_depth.device)
        yield (
            name,
            ViewGeometry(
                view.camera,
                view.grid,
                torch.where(is_anchor, view.z_depth, agreed.z_depth),
                torch.where(is_anchor, view.confidence, agreed.confidence),
            ),
        )


def _partners(view: ViewGeometry, cameras: Sequence[Camera], depth_range: DepthRange) -> list[int]:
    """Return the views that see what a view sees, as stereo chooses them."""
    span = depth_span(view.z_depth, view.confidence, depth_range)
    with torch.device("cpu"):
        return choose_views(angles_to(view.camera.center, frustum_probes(view.camera, span), cameras), FUSED)


def _votes(view: ViewGeometry, seen: _Seen | None, error: float, error_without: float) -> DepthVotes:
    """Return what a view says: stereo at its anchors, elsewhere its completed depth, as sure as the network is."""
    if seen is None:
        return DepthVotes(view.camera, view.grid, torch.stack([view.z_depth, view.confidence]))
    sureness = 1 / (1 + (error / _HALF_SURE) ** 2)
    z_depth = torch.as_tensor(np.exp(-seen.completed(error_without / max(error, 1e-6))), dtype=torch.float32).to(
        view.z_depth.device
    )
    is_anchor = torch.as_tensor(seen.is_anchor).to(view.z_depth.device)
    both = [torch.where(is_anchor, view.z_depth, z_depth), torch.where(is_anchor, view.confidence, sureness)]
    return DepthVotes(view.camera, view.grid, torch.stack(both))
