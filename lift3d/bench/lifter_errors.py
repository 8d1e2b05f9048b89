"""How far each lifter's features are from those of the true view: one walk over the held-out targets of a scene.

Learned lifters of one checkpoint share their proposal, so what differs between them is stage II alone.
"""

from collections.abc import Iterable
from typing import Any

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
from lift3d.lifters.protocol import Lifter
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


def scene_errors(location: str, recipe: Recipe, store: str, cell_count: int = CELL_COUNT) -> dict[str, Any]:
    """Return, per target and operator, each lifter's mean 1 − cos on the same cells, and PSNR where it is a picture."""
    return _Walk(HeldOutScene(location, recipe, store), cell_count).figures()


class HeldOutScene:
    """The held-out views of one scene, and what lifters and operators make of them.

    Args:
        location: Of the scene.
        recipe: Operators, lifters, image height and how targets are chosen.
        store: URL of the store that holds the features.
    """

    def __init__(self, location: str, recipe: Recipe, store: str) -> None:
        self.recipe, self.models = recipe, Models.of(recipe)
        scene = read_scene(location)
        self.inputs = SceneInputs(scene, open_store(store, create=True), recipe.image_height)
        self.inputs.decode_all(quiet)
        self._states: dict[tuple[str, tuple[ViewId, ...]], SceneState] = {}

    def targets(self, source_count: int) -> tuple[Target, ...]:
        """Return the targets with their sources chosen."""
        inputs = self.inputs
        targets = choose_targets(list(inputs.views.values()), self.recipe)
        return select_sources(targets, inputs.cameras(), source_count, inputs.scene.depth_range)

    def propose(self, lifter: Lifter, target: Target) -> RayProposal:
        """Return where surfaces may be along the target's rays.

        Raises:
            NoOverlapError: If no source sees anything of what the target sees.
        """
        return propose(lifter, target, self.inputs.frame, self.inputs.scene.depth_range)

    def picture(self, proposal: RayProposal) -> Frame:
        """Return the picture that the proposal lifts: what operators are shown for a guide."""
        return lift_picture(proposal, [self.inputs.frame(name) for name in proposal.source_ids])

    def state(self, operator: Operator, target: Target) -> SceneState:
        """Return what the operator fits without the target: once for all held-out targets, else once per target."""
        key = (operator.spec.name, target.source_ids)
        if key not in self._states:
            maps = self.inputs.encode(operator, set(), quiet).only(set(target.source_ids))
            self._states[key] = fitted_state(self.inputs, operator, maps)
        return self._states[key]

    def lifted(
        self,
        operator: Operator,
        lifter: Lifter,
        proposal: RayProposal,
        grid: FeatureGrid,
        guide: FeatureMap | None,
        state: SceneState,
        taps: int,
    ) -> FeatureMap:
        """Return an operator's features lifted to the target's grid, holes filled."""
        sources = [self.inputs.features(operator, name)[:1] for name in proposal.source_ids]
        guides = (guide,) if guide is not None and wants_guide(lifter, operator) else None
        lifted = lift_features(operator.spec, lifter, proposal, sources, [grid], taps, guides, state)
        return filled_features(lifted)[0]


def cells_to_count(
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


def is_picture(operator: Operator, truth: FeatureMap) -> bool:
    """Whether an operator's features are colours, so that PSNR can be told."""
    return operator.spec.prediction_kind == "image" and truth.channel_count == 3


def psnr(lifted: FeatureMap, truth: FeatureMap, frame: Frame) -> float:
    """Return the PSNR in dB of all valid pixels."""
    squared = (lifted.values - truth.values).square().mean(0)[frame.is_valid].mean()
    return float(-10 * squared.log10())


def mean_error(predicted: FeatureMap, truth: FeatureMap, cells: Int[Tensor, " pick"]) -> float:
    """Return the mean of 1 − cos over the cells whose truth is not 0; 1 where the prediction is 0."""
    x, y = (one.values.flatten(1)[:, cells].double() for one in (predicted, truth))
    scale = x.norm(dim=0) * y.norm(dim=0)
    cosine = torch.where(scale > 0, (x * y).sum(0) / scale, 0.0)
    return float((1 - cosine)[y.norm(dim=0) > 0].mean())


class _Walk:
    def __init__(self, scene: HeldOutScene, cell_count: int) -> None:
        self._scene, self._cell_count = scene, cell_count

    def figures(self) -> dict[str, Any]:
        scene, recipe = self._scene, self._scene.recipe
        rows: list[dict[str, Any]] = []
        skipped: list[list[str]] = []
        for target in scene.targets(recipe.sources):
            try:
                rows += self._target(target)
            except NoOverlapError as error:
                skipped.append([target.id, f"{error.reason}: {error}"])
        return {"scene": scene.inputs.scene.id, "protocol": recipe.protocol, "rows": rows, "skipped": skipped}

    def _target(self, target: Target) -> list[dict[str, Any]]:
        lifters = self._scene.models.lifters
        proposals: dict[tuple[str, str], RayProposal] = {}
        for lifter in lifters:
            key = lifter.spec.proposal_key
            if key not in proposals:
                proposals[key] = self._scene.propose(lifter, target)
        pictures = {
            lifter.spec.proposal_key: self._scene.picture(proposals[lifter.spec.proposal_key])
            for lifter in lifters
            if lifter.spec.is_guided
        }
        return [self._operator(operator, target, proposals, pictures) for operator in self._scene.models.operators]

    def _operator(
        self,
        operator: Operator,
        target: Target,
        proposals: dict[tuple[str, str], RayProposal],
        pictures: dict[tuple[str, str], Frame],
    ) -> dict[str, Any]:
        scene = self._scene
        frame, state, quantity = scene.inputs.frame(target.id), scene.state(operator, target), operator.spec.quantity
        (truth,) = own_answer(scene.inputs.features(operator, target.id)[:1], quantity, state, target.id)
        guides = {key: encode_view(operator, picture)[0] for key, picture in pictures.items()}
        row: dict[str, Any] = {"target": target.id, "operator": operator.spec.name, "errors": {}, "psnr": {}}
        cells, row["covered"] = cells_to_count(frame, truth.grid, proposals.values(), self._cell_count)
        for lifter in scene.models.lifters:
            key, taps = lifter.spec.proposal_key, scene.recipe.tap_count
            lifted = scene.lifted(operator, lifter, proposals[key], truth.grid, guides.get(key), state, taps)
            row["errors"][lifter.spec.name] = mean_error(lifted, truth, cells)
            if is_picture(operator, truth):
                row["psnr"][lifter.spec.name] = psnr(lifted, truth, frame)
        # Of the first checkpoint, where there are several.
        for guide in list(guides.values())[:1]:
            row["errors"][RENDERED] = mean_error(own_answer((guide,), quantity, state, target.id)[0], truth, cells)
        return row
