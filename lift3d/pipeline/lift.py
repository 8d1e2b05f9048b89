"""Lifting the targets of a scene: which products there are, and how the missing ones are made."""

from collections.abc import Mapping, Sequence
from typing import Any

from lift3d.config import Recipe
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import SceneId, digest
from lift3d.domain.lifted import LiftedView
from lift3d.domain.proposals import RayProposal
from lift3d.domain.records import RAW2D, LiftedProduct
from lift3d.domain.shard import Shard
from lift3d.domain.target import Target
from lift3d.errors import NoOverlapError
from lift3d.lifters.protocol import Lifter
from lift3d.operators.protocol import Operator, OperatorSpec
from lift3d.pipeline.blend import lift_features
from lift3d.pipeline.decode import decode_view, plain_view
from lift3d.pipeline.digests import lifted_digest, plain_digest, state_digest
from lift3d.pipeline.encode import encode_view
from lift3d.pipeline.features import made_by
from lift3d.pipeline.inputs import Report, SceneInputs
from lift3d.pipeline.models import Models
from lift3d.pipeline.products import (
    VIEWS_PER_PART,
    GridsOf,
    PartOfViews,
    SkippedTarget,
    commit_lifted,
    write_lifted_part,
)
from lift3d.pipeline.propose import propose
from lift3d.pipeline.weigh import lift_picture, refusal, wants_guide
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.location import Store
from lift3d.storage.products import Product, ProductWriter, products_in

Outcome = LiftedView | SkippedTarget


def plan_products(
    inputs: SceneInputs,
    recipe: Recipe,
    models: Models,
    states: Mapping[str, SceneState],
    targets: Sequence[Target],
) -> dict[LiftedProduct, Sequence[str]]:
    """Return every product of lifted views that the recipe wants of this scene, raw2d first for each operator.

    With each come the digests of its parts: where one of them is the same, its views are.
    """
    scene = inputs.scene
    source_ids = {name for target in targets for name, _ in target.sources}
    without_depth = sum(not inputs.views[name].source.has_depth for name in source_ids)
    words = f"{recipe.protocol}-{max(target.camera.size.height for target in targets)}px"
    products: dict[LiftedProduct, Sequence[str]] = {}
    for operator in models.operators:
        spec, state = operator.spec, state_digest(states[operator.spec.name])
        if not recipe.targets:
            keys = [plain_digest(spec, state, part, inputs.digests) for part in _parts(targets)]
            reason = refusal(operator, states[spec.name])
            products[_product(scene.id, spec.name, RAW2D, words, keys, reason)] = keys
        for lifter in models.lifters:
            reason = refusal(operator, states[spec.name], lifter)
            if lifter.spec.needs_depth and without_depth:
                reason = f"needs-depth: {without_depth} of {len(source_ids)} source views have none"
            keys = [
                lifted_digest(spec, lifter.spec, state, recipe, part, inputs.digests, scene.depth_range)
                for part in _parts(targets)
            ]
            products[_product(scene.id, spec.name, lifter.spec.name, words, keys, reason)] = keys
    return products


def _parts(targets: Sequence[Target]) -> list[Sequence[Target]]:
    return [targets[start : start + VIEWS_PER_PART] for start in range(0, len(targets), VIEWS_PER_PART)]


def _product(scene: SceneId, operator: str, lifter: str, words: str, keys: Sequence[str], reason: str) -> LiftedProduct:
    if reason:
        return LiftedProduct(operator, lifter, "", (), reason)
    whole = digest(list(keys))
    return LiftedProduct(operator, lifter, whole, (layout.lifted_path(scene, operator, lifter, words, whole),))


def lift_scene(
    inputs: SceneInputs,
    recipe: Recipe,
    models: Models,
    states: Mapping[str, SceneState],
    targets: Sequence[Target],
    products: Mapping[LiftedProduct, Sequence[str]],
    report: Report,
    shard: Shard | None = None,
) -> None:
    """Lift every part of the targets that no product has yet, or those that belong to a shard; commit what is whole."""
    work = _Lifting(inputs, recipe, models, states)
    cameras = {target.id: target.camera for target in targets}
    sizes = {camera.size for camera in cameras.values()}
    writers = {
        product: ProductWriter(inputs.store, path)
        for product in products
        for path in product.parts
        if committed(inputs.store, path) is None
    }
    # Parts fit into another product only if its arrays have the same room.
    keys = {product: [digest([key, sorted(map(repr, sizes))]) for key in products[product]] for product in writers}
    older = {product: _older_parts(inputs.store, product) for product in writers if len(keys[product]) > 1}
    parts = _parts(targets)
    for number, part in enumerate(parts):
        if shard is not None and not shard.takes(number):
            continue
        missing = []
        for product, writer in writers.items():
            known = older.get(product, {}).get(keys[product][number])
            if writer.part(number) is None and known is not None:
                writer.copy_part(number, len(targets), *known)
            elif writer.part(number) is None:
                missing.append(product)
        if not missing:
            continue
        outcomes: dict[LiftedProduct, list[Outcome]] = {product: [] for product in missing}
        for offset, target in enumerate(part):
            report("lift", number * VIEWS_PER_PART + offset, len(targets))
            for product, outcome in work.lift_target(target, missing):
                outcomes[product].append(outcome)
        for product in missing:
            write_lifted_part(
                PartOfViews(writers[product], number, len(targets), keys[product][number]),
                outcomes[product],
                sizes,
                work.grids_of(product.operator),
            )
            inputs.computed["lifted"] += 1
    for product, writer in writers.items():
        if all(writer.part(number) is not None for number in range(len(parts))):
            commit_lifted(writer, cameras, _attributes(inputs, recipe, product, work))


def _older_parts(store: Store, product: LiftedProduct) -> dict[str, tuple[Product, int]]:
    """Return the parts of what was lifted before of an operator by a lifter, by their digest."""
    (path,) = product.parts
    older = products_in(store, path.rpartition("/")[0])
    return {note["key"]: (product, number) for product in older for number, note in enumerate(product.notes)}


def _attributes(inputs: SceneInputs, recipe: Recipe, product: LiftedProduct, work: "_Lifting") -> dict[str, object]:
    spec = work.spec_of(product.operator)
    return {
        "what": "Answers of a 2D model lifted to each target view: features, how well they are covered, and what the "
        "model's decoder makes of them; the lifter raw2d is the plain 2D answer on the true image",
        "scene": inputs.scene.id,
        "operator": product.operator,
        "operator_identity": spec.identity,
        "quantity": spec.quantity,
        "lifter": product.lifter,
        "protocol": recipe.protocol,
        "image_height_px": recipe.image_height,
        "run": recipe.run_id,
        "digest": product.digest,
        **made_by(),
    }


class _Lifting:
    """Lifts one target at a time, for all operators and lifters that miss it."""

    def __init__(self, inputs: SceneInputs, recipe: Recipe, models: Models, states: Mapping[str, SceneState]) -> None:
        self._inputs = inputs
        self._recipe = recipe
        self._operators = {operator.spec.name: operator for operator in models.operators}
        self._lifters = {lifter.spec.name: lifter for lifter in models.lifters}
        self._states = states
        # Of the target at work: lifted pictures by proposal (operator ""), and what operators say of them.
        self._guides: dict[tuple[str, str, str], Any] = {}

    def spec_of(self, operator: str) -> OperatorSpec:
        """Return what there is to know of an operator."""
        return self._operators[operator].spec

    def grids_of(self, operator: str) -> GridsOf:
        """Return what gives an operator's grids on an image size."""
        return lambda size: self._inputs.grids(self._operators[operator], size)

    def lift_target(self, target: Target, products: Sequence[LiftedProduct]) -> list[tuple[LiftedProduct, Outcome]]:
        """Return, per product, the lifted view or the reason why there is none."""
        proposals: dict[tuple[str, str], RayProposal | str] = {}
        for name in dict.fromkeys(product.lifter for product in products if product.lifter != RAW2D):
            lifter = self._lifters[name]
            if lifter.spec.proposal_key not in proposals:
                proposals[lifter.spec.proposal_key] = self._propose(lifter, target)
        outcomes: list[tuple[LiftedProduct, Outcome]] = []
        for product in products:
            operator = self._operators[product.operator]
            if product.lifter == RAW2D:
                outcomes.append((product, self._plain(operator, target)))
                continue
            proposal = proposals[self._lifters[product.lifter].spec.proposal_key]
            if isinstance(proposal, str):
                outcomes.append((product, SkippedTarget(target.id, proposal)))
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

    def _lift(self, operator: Operator, lifter: Lifter, target: Target, proposal: RayProposal) -> Outcome:
        state = self._states[operator.spec.name]
        sources = [self._inputs.features(operator, name) for name in proposal.source_ids]
        grids, taps = self._inputs.grids(operator, target.camera.size), self._recipe.tap_count
        guides = self._guide(operator, lifter, proposal) if wants_guide(lifter, operator) else None
        lifted = lift_features(operator.spec, lifter, proposal, sources, grids, taps, guides, state)
        if not any(bool((one.coverage > 0).any()) for one in lifted):
            reason = f"{NoOverlapError.reason}: no source sees anything of target '{target.id}'"
            return SkippedTarget(target.id, reason)
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
