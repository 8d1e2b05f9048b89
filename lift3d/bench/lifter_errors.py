"""How far each lifter's features are from those of the true view: one walk over the held-out targets of a scene.

Learned lifters of one checkpoint share their proposal, so what differs between them is stage II alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from lift3d.config import Recipe
from lift3d.domain.features import FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import Frame
from lift3d.domain.target import Target
from lift3d.errors import NoOverlapError
from lift3d.lifters.protocol import Lifter, LifterSpec
from lift3d.lifters.weights import weights_at
from lift3d.metrics.counting import counted_cells
from lift3d.operators.protocol import Operator
from lift3d.pipeline.blend import lift_features
from lift3d.pipeline.decode import filled_features
from lift3d.pipeline.encode import encode_view
from lift3d.pipeline.fit import fitted_state
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.propose import propose
from lift3d.pipeline.quantities import own_answer
from lift3d.pipeline.targets import choose_targets, select_sources
from lift3d.pipeline.weigh import lift_picture, wants_guide
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store

CELL_COUNT = 512
# The operator on the lifted picture.
RENDERED = "reencoded"


@dataclass(frozen=True, slots=True)
class TargetErrors:
    """How far lifters are from one operator's own answer on one target.

    Attributes:
        target: View id.
        operator: Its name.
        covered: Share of the valid cells that every lifter covers.
        errors: Mean 1 − cos by lifter, and of the operator on the lifted picture.
        psnr: By lifter, dB; empty where features are no picture.
    """

    target: str
    operator: str
    covered: float
    errors: dict[str, float]
    psnr: dict[str, float]


@dataclass(frozen=True, slots=True)
class SceneErrors:
    """Errors of one scene, and the targets of which nothing is seen, each with the reason."""

    scene: str
    protocol: str
    rows: tuple[TargetErrors, ...]
    skipped: tuple[tuple[str, str], ...]


def scene_errors(location: str, recipe: Recipe, store: str, cell_count: int = CELL_COUNT) -> SceneErrors:
    """Return, per target and operator, each lifter's mean 1 − cos on the same cells, and PSNR where it is a picture.

    Args:
        location: Of the scene.
        recipe: Operators, lifters, image height and how targets are chosen.
        store: URL of the store that holds the features.
        cell_count: At most so many cells are compared.
    """
    walk = _Walk(location, recipe, store, cell_count)
    rows: list[TargetErrors] = []
    skipped: list[tuple[str, str]] = []
    for target in walk.targets():
        try:
            rows += walk.errors(target)
        except NoOverlapError as error:
            skipped.append((target.id, f"{error.reason}: {error}"))
    return SceneErrors(walk.inputs.scene.id, recipe.protocol, tuple(rows), tuple(skipped))


class _Walk:
    """The held-out views of one scene, and what lifters and operators make of them."""

    def __init__(self, location: str, recipe: Recipe, store: str, cell_count: int) -> None:
        self._recipe, self._models, self._cell_count = recipe, Models.of(recipe), cell_count
        self.inputs = SceneInputs(read_scene(location), open_store(store, create=True), recipe.image_height)
        self.inputs.decode_all(quiet)
        self._states: dict[tuple[str, tuple[ViewId, ...]], SceneState] = {}

    def targets(self) -> tuple[Target, ...]:
        """Return the targets with their sources chosen."""
        inputs = self.inputs
        targets = choose_targets(list(inputs.views.values()), self._recipe)
        return select_sources(targets, inputs.cameras(), self._recipe.sources, inputs.scene.depth_range)

    def errors(self, target: Target) -> list[TargetErrors]:
        """Return the errors of every operator on a target.

        Raises:
            NoOverlapError: If no source sees anything of what the target sees.
        """
        inputs = self.inputs
        proposals: dict[tuple[str, str], RayProposal] = {}
        pictures: dict[tuple[str, str], Frame] = {}
        for lifter in self._models.lifters:
            key = _proposal_key(lifter.spec)
            if key not in proposals:
                proposals[key] = propose(lifter, target, inputs.frame, inputs.scene.depth_range)
            if lifter.spec.is_guided:
                pictures[key] = lift_picture(proposals[key], [inputs.frame(one) for one in proposals[key].source_ids])
        return [self._operator(operator, target, proposals, pictures) for operator in self._models.operators]

    def _operator(
        self,
        operator: Operator,
        target: Target,
        proposals: dict[tuple[str, str], RayProposal],
        pictures: dict[tuple[str, str], Frame],
    ) -> TargetErrors:
        frame, state, quantity = self.inputs.frame(target.id), self._state(operator, target), operator.spec.quantity
        (truth,) = own_answer(self.inputs.features(operator, target.id)[:1], quantity, state, target.id)
        guides = {key: encode_view(operator, picture)[0] for key, picture in pictures.items()}
        cells, covered = _cells_to_count(frame, truth.grid, proposals.values(), self._cell_count)
        found = TargetErrors(target.id, operator.spec.name, covered, {}, {})
        for lifter in self._models.lifters:
            key = _proposal_key(lifter.spec)
            lifted = self._lifted(operator, lifter, proposals[key], truth.grid, guides.get(key), state)
            found.errors[lifter.spec.name] = mean_error(lifted, truth, cells)
            if _is_picture(operator, truth):
                found.psnr[lifter.spec.name] = _psnr(lifted, truth, frame)
        # Of the first checkpoint, where there are several.
        for guide in list(guides.values())[:1]:
            found.errors[RENDERED] = mean_error(own_answer((guide,), quantity, state, target.id)[0], truth, cells)
        return found

    def _state(self, operator: Operator, target: Target) -> SceneState:
        """Return what the operator fits without the target: once for all held-out targets, else once per target."""
        key = (operator.spec.name, tuple(target.source_ids))
        if key not in self._states:
            self._states[key] = fitted_state(self.inputs, operator, target.source_ids)
        return self._states[key]

    def _lifted(
        self,
        operator: Operator,
        lifter: Lifter,
        proposal: RayProposal,
        grid: FeatureGrid,
        guide: FeatureMap | None,
        state: SceneState,
    ) -> FeatureMap:
        """Return an operator's features lifted to the target's grid, holes filled."""
        sources = [self.inputs.features(operator, name)[:1] for name in proposal.source_ids]
        guides = (guide,) if guide is not None and wants_guide(lifter, operator) else None
        taps = self._recipe.tap_count
        return filled_features(lift_features(operator.spec, lifter, proposal, sources, [grid], taps, guides, state))[0]


def _proposal_key(spec: LifterSpec) -> tuple[str, str]:
    """Equal for lifters whose proposals are the same: those of one checkpoint differ in stage II alone."""
    return ("learned" if spec.is_learned else spec.name, spec.weights_digest)


def _cells_to_count(
    frame: Frame, grid: FeatureGrid, proposals: Iterable[RayProposal], cell_count: int
) -> tuple[Int[Tensor, " pick"], float]:
    """Return some seeded cells that are valid and that every proposal covers, and the share of the valid that are."""
    is_valid = counted_cells(frame.is_valid, grid).flatten()
    counts = is_valid.clone()
    for proposal in proposals:
        counts &= weights_at(proposal, grid, tap_count=1).coverage > 0
    picked = torch.nonzero(counts)[:, 0]
    order = torch.randperm(len(picked), generator=torch.Generator().manual_seed(0))
    return picked[order[:cell_count]].sort().values, float(counts.sum() / is_valid.sum().clamp(min=1))


def _is_picture(operator: Operator, truth: FeatureMap) -> bool:
    """Whether an operator's features are colours, so that PSNR can be told."""
    return operator.spec.prediction_kind == "image" and truth.channel_count == 3


def _psnr(lifted: FeatureMap, truth: FeatureMap, frame: Frame) -> float:
    """Return the PSNR in dB of all valid pixels."""
    squared = (lifted.values - truth.values).square().mean(0)[frame.is_valid].mean()
    return float(-10 * squared.log10())


def mean_error(predicted: FeatureMap, truth: FeatureMap, cells: Int[Tensor, " pick"]) -> float:
    """Return the mean of 1 − cos over the cells whose truth is not 0; 1 where the prediction is 0."""
    x, y = (one.values.flatten(1)[:, cells].double() for one in (predicted, truth))
    scale = x.norm(dim=0) * y.norm(dim=0)
    cosine = torch.where(scale > 0, (x * y).sum(0) / scale, 0.0)
    return float((1 - cosine)[y.norm(dim=0) > 0].mean())
