"""How far each lifter's features are from those of the true view: one walk over the held-out targets of a scene.

Learned lifters of one checkpoint share their proposal, so what differs between them is stage II alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from lift3d import pipeline
from lift3d.bench.attainable import CellErrors, attainable, true_features
from lift3d.config import Recipe
from lift3d.domain.features import FeatureMap
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import Frame
from lift3d.errors import NoOverlapError
from lift3d.lifters.protocol import Lifter
from lift3d.lifters.weights import weights_at
from lift3d.metrics.counting import counted_cells
from lift3d.models import Models
from lift3d.operators.protocol import Operator
from lift3d.scene_inputs import SceneInputs, quiet
from lift3d.scene_lift import COMPARABLE
from lift3d.storage.location import open_store
from lift3d.targets import Target, choose_targets

CELL_COUNT = 512
# The best that weights without a residual could do, on the taps of the shared weights.
BOUND, RENDERED = "convex", "reencoded"


def scene_errors(location: str, recipe: Recipe, store: str, cell_count: int = CELL_COUNT) -> dict[str, Any]:
    """Return, per target and operator, each lifter's mean 1 − cos on the same cells, and PSNR where it is a picture."""
    return _Walk(location, recipe, store, cell_count).figures()


class _Walk:
    def __init__(self, location: str, recipe: Recipe, store: str, cell_count: int) -> None:
        self._recipe, self._models, self._cell_count = recipe, Models.of(recipe), cell_count
        scene = pipeline.read_scene(location)
        self._inputs = SceneInputs(scene, open_store(store, create=True), recipe.image_height)
        self._inputs.decode_all(quiet)

    def figures(self) -> dict[str, Any]:
        inputs, recipe = self._inputs, self._recipe
        targets = choose_targets(list(inputs.views.values()), recipe)
        targets = pipeline.select_sources(targets, inputs.cameras(), recipe.sources, inputs.scene.depth_range)
        rows: list[dict[str, Any]] = []
        skipped: list[list[str]] = []
        for target in targets:
            try:
                rows += self._target(target)
            except NoOverlapError as error:
                skipped.append([target.id, f"{error.reason}: {error}"])
        return {"scene": inputs.scene.id, "protocol": recipe.protocol, "rows": rows, "skipped": skipped}

    def _target(self, target: Target) -> list[dict[str, Any]]:
        proposals: dict[tuple[str, str], RayProposal] = {}
        for lifter in self._models.lifters:
            key = lifter.spec.proposal_key
            if key not in proposals:
                proposals[key] = pipeline.propose(lifter, target, self._inputs.frame, self._inputs.scene.depth_range)
        pictures = {
            lifter.spec.proposal_key: self._picture(proposals[lifter.spec.proposal_key])
            for lifter in self._models.lifters
            if lifter.spec.is_guided
        }
        return [self._operator(operator, target, proposals, pictures) for operator in self._models.operators]

    def _picture(self, proposal: RayProposal) -> Frame:
        return pipeline.lift_picture(proposal, [self._inputs.frame(name) for name in proposal.source_ids])

    def _operator(
        self,
        operator: Operator,
        target: Target,
        proposals: dict[tuple[str, str], RayProposal],
        pictures: dict[tuple[str, str], Frame],
    ) -> dict[str, Any]:
        truth = self._inputs.features(operator, target.id)[0]
        guides = {key: pipeline.encode_view(operator, picture)[0] for key, picture in pictures.items()}
        frame = self._inputs.frame(target.id)
        is_picture = operator.spec.prediction_kind == "image" and truth.channel_count == 3
        row: dict[str, Any] = {"target": target.id, "operator": operator.spec.name, "errors": {}, "psnr": {}}
        cells, row["covered"] = self._cells(operator, truth, frame, proposals)
        wanted = true_features(truth, cells)
        for lifter in self._models.lifters:
            key = lifter.spec.proposal_key
            lifted = self._lifted(operator, lifter, proposals[key], truth, guides.get(key))
            row["errors"][lifter.spec.name] = _mean(CellErrors.of(true_features(lifted, cells), wanted))
            if is_picture:
                squared = (lifted.values - truth.values).square().mean(0)[frame.is_valid].mean()
                row["psnr"][lifter.spec.name] = float(-10 * squared.log10())
        # Of the first checkpoint, where there are several.
        for key, guide in list(guides.items())[:1]:
            row["errors"][RENDERED] = _mean(CellErrors.of(true_features(guide, cells), wanted))
            row["errors"][BOUND] = self._bound(operator, proposals[key], truth, cells)
        return row

    def _cells(
        self,
        operator: Operator,
        truth: FeatureMap,
        frame: Frame,
        proposals: dict[tuple[str, str], RayProposal],
    ) -> tuple[Int[Tensor, "pick"], float]:
        """Return some cells that are valid and that every lifter covers, and the share of the valid that are such."""
        is_valid = counted_cells(frame.is_valid, truth.grid).flatten()
        counts = is_valid.clone()
        for proposal in proposals.values():
            counts &= weights_at(proposal, truth.grid, tap_count=1).coverage > 0
        picked = torch.nonzero(counts)[:, 0]
        order = torch.randperm(len(picked), generator=torch.Generator().manual_seed(0))
        return picked[order[: self._cell_count]].sort().values, float(counts.sum() / is_valid.sum().clamp(min=1))

    def _lifted(
        self, operator: Operator, lifter: Lifter, proposal: RayProposal, truth: FeatureMap, guide: FeatureMap | None
    ) -> FeatureMap:
        sources = [self._inputs.features(operator, name)[:1] for name in proposal.source_ids]
        is_guided = lifter.spec.is_guided and operator.spec.quantity in COMPARABLE
        guides = (guide,) if guide is not None and is_guided else None
        taps = self._recipe.tap_count
        return pipeline.filled_features(pipeline.lift_features(lifter, proposal, sources, [truth.grid], taps, guides))[
            0
        ]

    def _bound(self, operator: Operator, proposal: RayProposal, truth: FeatureMap, cells: Int[Tensor, "pick"]) -> float:
        maps: Sequence[FeatureMap] = [self._inputs.features(operator, name)[0] for name in proposal.source_ids]
        weights = weights_at(proposal, truth.grid, tap_count=self._recipe.tap_count)
        return _mean(attainable(weights, maps, truth, cells)[BOUND])


def _mean(errors: CellErrors) -> float:
    return float(errors.cosine_distance.nanmean())
