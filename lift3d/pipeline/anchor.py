"""Anchor: what one operator says of the views, put on the scene's surface and read there by every target."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedFeatures, LiftedView, Prediction
from lift3d.domain.target import Target
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.holes import fill_from_nearest
from lift3d.geometry.rays import cell_centers
from lift3d.lifters.blend import SourceTable, blend, blend_picture, picture_and_spread
from lift3d.operators.protocol import COMPARABLE, Operator, OperatorSpec
from lift3d.pipeline.bounded_cache import BoundedCache
from lift3d.pipeline.decode import COVERED, Answers, decode_view, filled_features
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.quantities import TargetFrameTransform
from lift3d.pipeline.tracks import views_to_fit_on
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import (
    GUESSED,
    AnchoredTarget,
    ballots,
    consensus_weights,
    evidence_at,
    owner_weights,
    used_sources,
)
from lift3d.surface.bands import CRISPNESS, confirmed, crisp, low_band
from lift3d.surface.confidence import DEPTH, FEATURES, LABELS
from lift3d.surface.depth_map import given_stride_px
from lift3d.surface.light import light_weights
from lift3d.surface.masking import without_invalid
from lift3d.surface.scene_surface import SceneSurface
from lift3d.surface.votes import agreed_masks, voted

# Probabilities below this are one part in a million: their logarithms stay finite.
_LEAST_PROBABILITY = 1e-6
# Features shorter than this have no direction.
_SHORTEST = 1e-9
# Cells per cell of a network and axis where each decides for itself: views show it at as many places.
FINER = 4
# A table of all views is kept for all targets up to this size; beyond it, each target lays out its own sources, of
# which those used last are kept, up to as much.
MOST_TABLE_BYTES = 2**29
# Of what is made of a view's answer or colours: without holes, and their coarse band.
MADE_BYTES = 2**27

MapOf = Callable[[ViewId], FeatureMap]


def averages_probabilities(spec: OperatorSpec) -> bool:
    """Whether features are scores per label: their probabilities are averaged, not they."""
    return spec.prediction_kind == "labels" and spec.quantity == "label"


def carries_answers(spec: OperatorSpec) -> bool:
    """Whether answers lie on the surface, rather than features that are decoded at each target.

    Answers do that mean the same in every view: pictures, masks, labels, black boxes. Embeddings are features, and so
    is what is decided cell by cell: views together show finer cells than each of them.
    """
    is_alike = spec.quantity in COMPARABLE and spec.quantity != "color"
    return (
        is_alike and spec.prediction_kind != "embedding" and not averages_probabilities(spec) and not spec.decodes_cells
    )


class OnSurface:
    """One operator on a scene's surface: features are means of ``taps`` witnesses at most, numbered as ``view_ids``."""

    def __init__(
        self,
        inputs: SceneInputs,
        answers: Answers,
        operator: Operator,
        state: SceneState,
        view_ids: Sequence[ViewId],
        taps: int,
        crispness: float = CRISPNESS,
    ) -> None:
        self._inputs, self._answers, self._operator, self._state = inputs, answers, operator, state
        self._view_ids, self._taps, self._crispness = tuple(view_ids), taps, crispness
        self._tables: dict[str, SourceTable | None] = {}
        self._fitted: SceneState | None = None
        self._made: BoundedCache[Tensor] = BoundedCache(lambda one: one.nbytes, MADE_BYTES)
        self._used: BoundedCache[FeatureMap] = BoundedCache(lambda one: one.values.nbytes, MOST_TABLE_BYTES)

    def lift(self, target: Target, anchored: AnchoredTarget) -> LiftedView:
        """Return the operator's features and answer at a target."""
        with torch.inference_mode():
            size = target.camera.size
            grids = self._inputs.grids(self._operator, size)
            lifted = tuple(self._features(cut, grid, anchored) for cut, grid in enumerate(grids))
            if carries_answers(self._operator.spec):
                prediction = self._answer(size, anchored)
            elif self._operator.spec.decodes_cells:
                state = self._fitted_on_surface(anchored.surface)
                prediction = decode_view(self._operator, state, self.fine(anchored), size)
            else:
                prediction = decode_view(self._operator, self._state, lifted, size)
        return LiftedView(target.id, target.camera, lifted, prediction, anchored.view_ids)

    def consensus(self, anchored: AnchoredTarget) -> tuple[LiftedFeatures, Float[Tensor, "row col"]]:
        """Return what a target's witnesses say together, and how far they agree, from 0 to 1: the first cut."""
        grid = self._inputs.grids(self._operator, anchored.camera.size)[0]
        return self._consensus(0, grid, anchored)

    def fine(self, anchored: AnchoredTarget) -> tuple[LiftedFeatures, ...]:
        """Return features on finer cells than the network's."""
        size = anchored.camera.size
        grids = self._inputs.grids(self._operator, size)
        return tuple(self._features(cut, finer_grid(grid, size), anchored) for cut, grid in enumerate(grids))

    def _fitted_on_surface(self, surface: SceneSurface) -> SceneState:
        """Return what decode needs of the views, fitted on what they show together, as that is what is decoded."""
        if self._state.is_empty:
            return self._state
        if self._fitted is None:
            maps = _SurfaceMaps(surface, self.fine, self._taps)
            views = views_to_fit_on(self._inputs, surface.ids)
            self._fitted = self._operator.fit_scene(maps, views)
        return self._fitted

    def _features(self, cut: int, grid: FeatureGrid, anchored: AnchoredTarget) -> LiftedFeatures:
        spec, place = self._operator.spec, evidence_at(anchored, grid)
        if spec.quantity == "color" or cut in spec.color_cuts:
            # Light itself: photographs agree as far as they can, and what is left depends on who looks.
            return _sure(self._light(light_weights(anchored, grid), cut), DEPTH.of(0.5, place))
        if averages_probabilities(spec):
            weights = ballots(anchored, grid, self._taps)
            mean = self._blend(weights, f"cut {cut}", lambda name: _probabilities(self._map(name, cut)))
            return _sure(_as_scores(mean), LABELS.of(mean.features.values[:-1].amax(0), place))
        if spec.quantity in COMPARABLE:
            mean, length = self._consensus(cut, grid, anchored)
            return _sure(mean, FEATURES.of(length, place))
        # Depth, directions and instances are taken into the frame of each target.
        to_target = TargetFrameTransform(spec.quantity, self._state, cut, anchored.camera)
        weights = used_sources(consensus_weights(anchored, grid, self._taps))
        cameras = dict(zip(anchored.view_ids, anchored.cameras, strict=True))
        maps = [to_target.of_source(self._map(name, cut), name, cameras[name]) for name in weights.source_ids]
        return _sure(to_target.at_target(blend(weights, maps)), DEPTH.of(0.5, place))

    def _consensus(
        self, cut: int, grid: FeatureGrid, anchored: AnchoredTarget
    ) -> tuple[LiftedFeatures, Float[Tensor, "row col"]]:
        """Return the witnesses' mean features, as long as theirs, and how long the mean was: 1 where all agree."""
        weights = consensus_weights(anchored, grid, self._taps)
        to_target = TargetFrameTransform(self._operator.spec.quantity, self._state, cut, anchored.camera)
        # Cells that are finer than a network's need not be crisp to be told apart.
        read = self._map if self._operator.spec.decodes_cells else self._crisp_map
        blended, length = _without_length(
            self._blend(
                weights,
                f"cut {cut}",
                lambda name: _with_length(to_target.of_source(read(name, cut), name, anchored.camera)),
            )
        )
        return to_target.at_target(blended), length

    def _light(self, weights: BlendingWeights, cut: int) -> LiftedFeatures:
        """Return colours read bicubically, since what is blended is seen as it is, and as finely as views agree."""
        # Where the surface is a guess, views' own fillings are nearer to photographs than the nearest colour is.
        used = used_sources(weights)
        shape = weights.grid.shape
        images = [self._filled(f"cut {cut}", name, self._map(name, cut)).values for name in used.source_ids]
        coverage = used.coverage.reshape(shape)
        picture, spread = picture_and_spread(used, images)
        picture = confirmed(fill_from_nearest(picture, coverage > 0), spread)
        values = torch.where(coverage > 0, picture, torch.nan)
        return LiftedFeatures(FeatureMap(values, weights.grid), coverage, used.z_depth.reshape(shape))

    def _answer(self, size: ImageSize, anchored: AnchoredTarget) -> Prediction:
        kind = self._operator.spec.prediction_kind
        grid = self._answer_grid(size)
        if kind == "labels":
            weights = self._voting(used_sources(ballots(anchored, grid, self._taps)))
            labels = voted(weights, [self._answer_map(name) for name in weights.source_ids])
            covered = (weights.coverage >= COVERED).reshape(grid.shape)
            return Prediction(kind, fill_from_nearest(labels[None].float(), covered)[0].long(), covered)
        if kind == "masks":
            return self._masks(grid, anchored)
        if kind == "image":
            lifted = self._two_bands(grid, anchored, "answer", self._answer_map)
        else:
            weights = self._voting(consensus_weights(anchored, grid, self._taps))
            lifted = self._blend(weights, "answer", self._answer_map)
        values = fill_from_nearest(lifted.features.values, lifted.coverage > 0)
        return Prediction(kind, values[0] if kind == "scalar" else values, lifted.coverage >= COVERED)

    def _masks(self, grid: FeatureGrid, anchored: AnchoredTarget) -> Prediction:
        """Return the mean of the witnesses' masks, as fine as they agree."""

        def with_squares(name: ViewId) -> FeatureMap:
            one = self._answer_map(name)
            return FeatureMap(torch.cat([one.values, one.values.square()]), one.grid)

        lifted = self._blend(self._voting(ballots(anchored, grid, self._taps)), "answer and square", with_squares)
        mean, square = fill_from_nearest(lifted.features.values, lifted.coverage > 0).chunk(2)
        z_depth = anchored.depth.at(cell_centers(*grid.lattice).reshape(-1, 2)).reshape(grid.shape)
        masks = agreed_masks(mean, (square - mean.square()).clamp(min=0), z_depth)
        return Prediction("masks", masks, lifted.coverage >= COVERED)

    def _two_bands(self, grid: FeatureGrid, anchored: AnchoredTarget, what: str, map_of: MapOf) -> LiftedFeatures:
        """Return the mean of the witnesses' coarse bands and the fine band of the owners."""

        def low(name: ViewId) -> FeatureMap:
            one = map_of(name)
            values = self._made.get(f"{what} low {name}", lambda: low_band(one.values, self._valid(name, one)))
            return FeatureMap(values, one.grid)

        painters = min(self._taps, anchored.surface.painters)
        coarse = self._blend(self._voting(consensus_weights(anchored, grid, painters)), f"{what} low", low)
        owner = self._voting(owner_weights(anchored, grid))
        used = used_sources(owner)
        maps = [map_of(name) for name in used.source_ids]
        # Bicubic, as what is seen must be: linear reading would take a tenth of the fine band.
        sharp = blend_picture(used, [one.values for one in maps], maps[0].grid.placement[0])
        # At the same cells as the picture: where owners change, a coarser band is of others than it, and shows a grid.
        fine = sharp - self._blend(owner, f"{what} low", low).features.values
        values = (coarse.features.values + fine.nan_to_num(0.0)).clamp(0, 1)
        return LiftedFeatures(FeatureMap(values, grid), coarse.coverage, coarse.z_depth)

    def _crisp_map(self, name: ViewId, cut: int) -> FeatureMap:
        one = self._map(name, cut)
        return FeatureMap(crisp(one.values.float(), one.grid.stride_u, self._crispness), one.grid, one.global_tokens)

    def _blend(self, weights: BlendingWeights, what: str, map_of: MapOf) -> LiftedFeatures:
        """Blend maps of views, laid out once for all targets unless that takes too much memory."""
        if what not in self._tables:
            first = map_of(self._view_ids[0])
            fits = 4 * first.values.numel() * len(self._view_ids) <= MOST_TABLE_BYTES
            self._tables[what] = SourceTable([map_of(name) for name in self._view_ids]) if fits else None
        table = self._tables[what]
        if table is not None:
            return table.blend(weights)
        used = used_sources(weights)
        return blend(used, [self._used.get(f"{what} {name}", partial(map_of, name)) for name in used.source_ids])

    def _voting(self, weights: BlendingWeights) -> BlendingWeights:
        return without_invalid(
            weights, lambda name: self._made.get(f"valid {name}", lambda: self._inputs.frame(name).is_valid)
        )

    def _map(self, name: ViewId, cut: int) -> FeatureMap:
        return self._inputs.features(self._operator, name)[cut]

    def _answer_map(self, name: ViewId) -> FeatureMap:
        """Return the answer of a view as a map over its image."""
        values = self._answers.of(self._operator, self._state, name).values
        values = values if values.ndim == 3 else values[None]
        grid = _covering(self._inputs.frame(name).camera.size, values.shape[-2:])
        return self._filled("answer", name, FeatureMap(values.float(), grid))

    def _filled(self, what: str, name: ViewId, one: FeatureMap) -> FeatureMap:
        """Return a map of a view whose invalid pixels show what the nearest valid one does."""
        is_valid = self._valid(name, one)
        if is_valid.is_cpu and bool(is_valid.all()):
            return one
        values = self._made.get(f"{what} {name}", lambda: fill_from_nearest(one.values, is_valid))
        return FeatureMap(values, one.grid)

    def _answer_grid(self, size: ImageSize) -> FeatureGrid:
        """Return where a target's answer lies: as many values per pixel as a view's."""
        name = self._view_ids[0]
        own, image = self._answer_map(name).grid, self._inputs.frame(name).camera.size
        rows, cols = round(own.rows * size.height / image.height), round(own.cols * size.width / image.width)
        return _covering(size, (rows, cols))

    def _valid(self, name: ViewId, one: FeatureMap) -> Bool[Tensor, "row col"]:
        is_valid = self._inputs.frame(name).is_valid
        return is_valid if is_valid.shape == one.grid.shape else torch.ones(one.grid.shape, dtype=torch.bool)


class _SurfaceMaps(Mapping[ViewId, tuple[FeatureMap, ...]]):
    """What the views of a surface see of it, read when it is asked for; holes as decoders meet them."""

    def __init__(self, surface: SceneSurface, read: Callable[[AnchoredTarget], tuple[LiftedFeatures, ...]], taps: int):
        self._surface, self._read, self._taps = surface, read, taps

    def __getitem__(self, name: ViewId) -> tuple[FeatureMap, ...]:
        camera = next(view.camera for view in self._surface.views if view.id == name)
        return filled_features(self._read(Anchored().anchor(self._surface, camera, self._surface.ids, self._taps)))

    def __iter__(self) -> Iterator[ViewId]:
        return iter(self._surface.ids)

    def __len__(self) -> int:
        return len(self._surface.ids)


def finer_grid(grid: FeatureGrid, size: ImageSize) -> FeatureGrid:
    """Return the cells that a network's features are read on where each decides for itself: a quarter as wide or more.

    They are no finer than depth that is given.
    """
    stride = max(given_stride_px(size), min(grid.stride_u, grid.stride_v) / FINER)
    return FeatureGrid.covering(size, stride) if stride < min(grid.stride_u, grid.stride_v) else grid


def _covering(size: ImageSize, shape: Sequence[int]) -> FeatureGrid:
    return FeatureGrid(shape[0], shape[1], size.width / shape[1], size.height / shape[0])


def _probabilities(scores: FeatureMap) -> FeatureMap:
    """Return the probabilities of scores, and the level of the scores as one more channel."""
    level = scores.values.logsumexp(0, keepdim=True)
    return FeatureMap(torch.cat([(scores.values - level).exp(), level]), scores.grid)


def _with_length(one: FeatureMap) -> FeatureMap:
    """Return features with their length as one more channel."""
    tokens = None if one.global_tokens is None else F.pad(one.global_tokens, (0, 1))
    return FeatureMap(torch.cat([one.values, one.values.norm(dim=0, keepdim=True)]), one.grid, tokens)


def _without_length(mean: LiftedFeatures) -> tuple[LiftedFeatures, Float[Tensor, "row col"]]:
    """Return mean features as long as those that they are a mean of, and how long that mean was: 1 where all agree.

    A mean is the shorter the more views disagree, and networks meet no such features; its direction is what is wanted.
    """
    features = mean.features
    values, tokens = features.values[:-1], features.global_tokens
    length = values.norm(dim=0) / features.values[-1].clamp(min=_SHORTEST)
    values = values / length.clamp(min=_SHORTEST)
    return replace(mean, features=FeatureMap(values, features.grid, None if tokens is None else tokens[:, :-1])), length


def _sure(lifted: LiftedFeatures, confidence: Float[Tensor, "row col"]) -> LiftedFeatures:
    return replace(lifted, confidence=torch.where(lifted.coverage > GUESSED, confidence, 0.0))


def _as_scores(mean: LiftedFeatures) -> LiftedFeatures:
    """Return the logarithm of mean probabilities, at the mean level of the scores."""
    values = mean.features.values
    scores = values[:-1].clamp(min=_LEAST_PROBABILITY).log() + values[-1:]
    return LiftedFeatures(FeatureMap(scores, mean.features.grid), mean.coverage, mean.z_depth)
