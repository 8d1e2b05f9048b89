"""Lifting the targets of a scene: which products there are, and how the missing ones are made."""

from collections.abc import Mapping, Sequence
from typing import Any

from lift3d.config import Recipe
from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import SceneId, digest
from lift3d.domain.lifted import LiftedView
from lift3d.domain.proposals import RayProposal
from lift3d.domain.records import RAW2D, LiftedProduct
from lift3d.domain.shard import Shard
from lift3d.domain.target import Target
from lift3d.errors import NoOverlapError
from lift3d.lifters.protocol import Lifter
from lift3d.operators.protocol import Operator
from lift3d.pipeline.blend import lift_features
from lift3d.pipeline.decode import decode_view, plain_view
from lift3d.pipeline.digests import lifted_digest, plain_digest, state_digest
from lift3d.pipeline.encode import encode_view, target_grids
from lift3d.pipeline.inputs import Report, SceneInputs
from lift3d.pipeline.models import Models
from lift3d.pipeline.products import VIEWS_PER_PART, write_lifted_part
from lift3d.pipeline.propose import propose
from lift3d.pipeline.weigh import lift_picture, refusal, wants_guide
from lift3d.storage import layout
from lift3d.storage.commit import committed


def plan_products(
    inputs: SceneInputs,
    recipe: Recipe,
    models: Models,
    states: Mapping[str, SceneState],
    targets: Sequence[Target],
) -> list[LiftedProduct]:
    """Return every product of lifted views that the recipe wants of this scene, raw2d first for each operator."""
    parts = [targets[start : start + VIEWS_PER_PART] for start in range(0, len(targets), VIEWS_PER_PART)]
    scene = inputs.scene
    source_ids = {name for target in targets for name, _ in target.sources}
    without_depth = sum(not inputs.views[name].source.has_depth for name in source_ids)
    products = []
    for operator in models.operators:
        spec, state = operator.spec, state_digest(states[operator.spec.name])
        if not recipe.targets:
            keys = [plain_digest(spec, state, part, inputs.digests) for part in parts]
            reason = refusal(operator, states[spec.name])
            products.append(_product(scene.id, spec.name, RAW2D, keys, reason))
        for lifter in models.lifters:
            reason = refusal(operator, states[spec.name], lifter)
            if lifter.spec.needs_depth and without_depth:
                reason = f"needs-depth: {without_depth} of {len(source_ids)} source views have none"
            keys = [
                lifted_digest(spec, lifter.spec, state, recipe, part, inputs.digests, scene.depth_range)
                for part in parts
            ]
            products.append(_product(scene.id, spec.name, lifter.spec.name, keys, reason))
    return products


def _product(scene: SceneId, operator: str, lifter: str, keys: Sequence[str], reason: str) -> LiftedProduct:
    if reason:
        return LiftedProduct(operator, lifter, "", (), reason)
    paths = tuple(layout.lifted_path(scene, operator, lifter, key, part) for part, key in enumerate(keys))
    return LiftedProduct(operator, lifter, digest(list(keys)), paths)


def lift_scene(
    inputs: SceneInputs,
    recipe: Recipe,
    models: Models,
    states: Mapping[str, SceneState],
    targets: Sequence[Target],
    products: Sequence[LiftedProduct],
    report: Report,
    shard: Shard | None = None,
) -> None:
    """Compute and commit every part that is not committed yet, or those of them that belong to a shard."""
    work = _Lifting(inputs, recipe, models, states)
    for part, start in enumerate(range(0, len(targets), VIEWS_PER_PART)):
        if shard is not None and not shard.takes(part):
            continue
        missing = [
            product for product in products if product.parts and committed(inputs.store, product.parts[part]) is None
        ]
        if not missing:
            continue
        views: dict[LiftedProduct, list[LiftedView]] = {product: [] for product in missing}
        skipped: dict[LiftedProduct, list[list[str]]] = {product: [] for product in missing}
        for offset, target in enumerate(targets[start : start + VIEWS_PER_PART]):
            report("lift", start + offset, len(targets))
            for product, outcome in work.lift_target(target, missing):
                if isinstance(outcome, str):
                    skipped[product].append([target.id, outcome])
                else:
                    views[product].append(outcome)
        for product in missing:
            attrs = {"operator": product.operator, "lifter": product.lifter, "skipped": skipped[product]}
            write_lifted_part(inputs.store, product.parts[part], views[product], {**attrs, "recipe": recipe.run_id})
            inputs.computed["lifted"] += 1


class _Lifting:
    """Lifts one target at a time, for all operators and lifters that miss it."""

    def __init__(self, inputs: SceneInputs, recipe: Recipe, models: Models, states: Mapping[str, SceneState]) -> None:
        self._inputs = inputs
        self._recipe = recipe
        self._operators = {operator.spec.name: operator for operator in models.operators}
        self._lifters = {lifter.spec.name: lifter for lifter in models.lifters}
        self._states = states
        self._grids: dict[tuple[str, ImageSize], tuple[FeatureGrid, ...]] = {}
        # Of the target at work: lifted pictures by proposal (operator ""), and what operators say of them.
        self._guides: dict[tuple[str, str, str], Any] = {}

    def lift_target(
        self, target: Target, products: Sequence[LiftedProduct]
    ) -> list[tuple[LiftedProduct, LiftedView | str]]:
        """Return, per product, the lifted view or the reason why there is none."""
        proposals: dict[tuple[str, str], RayProposal | str] = {}
        for name in dict.fromkeys(product.lifter for product in products if product.lifter != RAW2D):
            lifter = self._lifters[name]
            if lifter.spec.proposal_key not in proposals:
                proposals[lifter.spec.proposal_key] = self._propose(lifter, target)
        outcomes: list[tuple[LiftedProduct, LiftedView | str]] = []
        for product in products:
            operator = self._operators[product.operator]
            if product.lifter == RAW2D:
                outcomes.append((product, self._plain(operator, target)))
                continue
            proposal = proposals[self._lifters[product.lifter].spec.proposal_key]
            if isinstance(proposal, str):
                outcomes.append((product, proposal))
            else:
                outcomes.append((product, self._lift(operator, self._lifters[product.lifter], target, proposal)))
        self._guides.clear()
        return outcomes

    def _propose(self, lifter: Lifter, target: Target) -> RayProposal | str:
        try:
            return propose(lifter, target, self._inputs.frame, self._inputs.scene.depth_range)
        except NoOverlapError as error:
            return f"{error.reason}: {error}"

    def _plain(self, operator: Operator, target: Target) -> LiftedView:
        maps = self._inputs.features(operator, target.id)
        return plain_view(operator, self._states[operator.spec.name], target, self._inputs.frame(target.id), maps)

    def _lift(self, operator: Operator, lifter: Lifter, target: Target, proposal: RayProposal) -> LiftedView | str:
        state, spec = self._states[operator.spec.name], operator.spec
        sources = [self._inputs.features(operator, name) for name in proposal.source_ids]
        grids, taps = self._target_grids(operator, target.camera.size), self._recipe.tap_count
        guides = self._guide(operator, lifter, proposal) if wants_guide(lifter, operator) else None
        lifted = lift_features(lifter, proposal, sources, grids, taps, guides, state, spec.quantity, spec.color_cuts)
        if not any(bool((one.coverage > 0).any()) for one in lifted):
            return f"{NoOverlapError.reason}: no source sees anything of target '{target.id}'"
        prediction = decode_view(operator, state, lifted, target.camera.size)
        return LiftedView(target.id, target.camera, lifted, prediction, proposal.source_ids)

    def _guide(self, operator: Operator, lifter: Lifter, proposal: RayProposal) -> tuple[FeatureMap, ...]:
        """Return the operator's maps of the picture that the proposal lifts; both serve every lifter that shares it."""
        picture_key = (*lifter.spec.proposal_key, "")
        if picture_key not in self._guides:
            frames = [self._inputs.frame(name) for name in proposal.source_ids]
            self._guides[picture_key] = lift_picture(proposal, frames)
        picture = self._guides[picture_key]
        key = (*lifter.spec.proposal_key, operator.spec.name)
        if key not in self._guides:
            self._guides[key] = encode_view(operator, picture)
        maps: tuple[FeatureMap, ...] = self._guides[key]
        return maps

    def _target_grids(self, operator: Operator, size: ImageSize) -> tuple[FeatureGrid, ...]:
        key = (operator.spec.name, size)
        if key not in self._grids:
            self._grids[key] = target_grids(operator, size)
        return self._grids[key]
