"""Lifting views: one target for all operators by its proposal, or one operator on the surface for all targets."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from lift3d.config import Recipe
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.lifted import LiftedView
from lift3d.domain.proposals import RayProposal
from lift3d.domain.records import RAW2D, LiftedProduct
from lift3d.domain.scene import Frame
from lift3d.domain.target import Target
from lift3d.errors import NoOverlapError
from lift3d.lifters.protocol import Lifter
from lift3d.operators.protocol import Operator, OperatorSpec
from lift3d.pipeline.anchor import OnSurface, carries_answers
from lift3d.pipeline.blend import lift_features
from lift3d.pipeline.decode import Answers, decode_view, plain_view
from lift3d.pipeline.encode import encode_view
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.models import Models
from lift3d.pipeline.products import GridsOf, SkippedTarget
from lift3d.pipeline.propose import propose
from lift3d.pipeline.weigh import lift_picture, wants_guide
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import AnchoredTarget
from lift3d.surface.scene_surface import SceneSurface

Outcome = LiftedView | SkippedTarget
# What operators said of all views, laid out for all targets, is kept from part to part for so many of them.
_OPERATORS_KEPT = 2


class Lifting:
    """Lifts a part of a scene's targets, for operators and lifters that miss it; no surface if no lifter reads it."""

    def __init__(
        self,
        inputs: SceneInputs,
        recipe: Recipe,
        models: Models,
        states: Mapping[str, SceneState],
        surface: SceneSurface | None = None,
    ) -> None:
        self._inputs = inputs
        self._recipe = recipe
        self._operators = {operator.spec.name: operator for operator in models.operators}
        self._lifters = {lifter.spec.name: lifter for lifter in models.lifters}
        self._states = states
        self._surface = surface
        self._answers = Answers(inputs)
        self._on_surface_of: dict[str, OnSurface] = {}
        # Of the target at work, by lifter.
        self._pictures: dict[str, Frame] = {}

    def spec_of(self, operator: str) -> OperatorSpec:
        """Return what there is to know of an operator."""
        return self._operators[operator].spec

    def grids_of(self, operator: str) -> GridsOf:
        """Return what gives an operator's grids on an image size."""
        return lambda size: self._inputs.grids(self._operators[operator], size)

    def lift_part(
        self, part: Sequence[Target], missing: Sequence[LiftedProduct]
    ) -> Iterator[tuple[float, dict[LiftedProduct, list[Outcome]]]]:
        """Yield the share of the part that is done, and products of which it is whole, with an outcome per target.

        Lifters that propose take one target after the other for all operators, since a proposal is dear and large.
        On the surface, which is neither, one operator after the other is put and read by all targets.
        """
        reads = [one for one in missing if self._reads_surface(one)]
        proposes = [one for one in missing if not self._reads_surface(one) and one.lifter != RAW2D]
        plain = [one for one in missing if one.lifter == RAW2D]
        steps, done = len(part) * (len(reads) + len(plain) + bool(proposes)), 0
        found: dict[LiftedProduct, list[Outcome]] = {product: [] for product in proposes}
        for target in part if proposes else ():
            for product, outcome in self._lift_target(target, proposes):
                found[product].append(outcome)
            done += 1
            yield done / steps, {}
        if found:
            yield done / steps, found
        anchored = [self._anchored(target) for target in part] if reads else []
        in_turn = sorted([*plain, *reads], key=lambda one: [*self._operators].index(one.operator))
        for operator, products in groupby(in_turn, key=lambda one: one.operator):
            for product in products:
                outcomes: list[Outcome] = []
                on_surface = self._on_surface(operator) if product.lifter != RAW2D else None
                for number, target in enumerate(part):
                    outcomes.append(
                        self._plain(self._operators[operator], target)
                        if on_surface is None
                        else _read(on_surface, target, anchored[number])
                    )
                    done += 1
                    yield done / steps, {}
                yield done / steps, {product: outcomes}

    def _reads_surface(self, product: LiftedProduct) -> bool:
        return product.lifter != RAW2D and self._lifters[product.lifter].spec.is_anchored

    def _anchored(self, target: Target) -> AnchoredTarget | str:
        if self._surface is None:
            return "no-surface: the scene has none"
        try:
            return Anchored().anchor(self._surface, target.camera, target.source_ids, self._recipe.tap_count)
        except NoOverlapError as error:
            return f"{error.reason}: {error}"

    def _on_surface(self, operator: str) -> OnSurface:
        if operator not in self._on_surface_of:
            ids = () if self._surface is None else self._surface.ids
            one, state = self._operators[operator], self._states[operator]
            if len(self._on_surface_of) == _OPERATORS_KEPT:
                self._on_surface_of.clear()
            made = OnSurface(self._inputs, self._answers, one, state, ids, self._recipe.tap_count)
            self._on_surface_of[operator] = made
        return self._on_surface_of[operator]

    def _lift_target(
        self, target: Target, products: Sequence[LiftedProduct]
    ) -> Iterator[tuple[LiftedProduct, Outcome]]:
        """Yield, per product, the lifted view or the reason why there is none."""
        proposals: dict[str, RayProposal | str] = {}
        for product in products:
            lifter = self._lifters[product.lifter]
            if product.lifter not in proposals:
                proposals[product.lifter] = self._propose(lifter, target)
            proposal = proposals[product.lifter]
            if isinstance(proposal, str):
                yield product, SkippedTarget(target.id, proposal)
            else:
                yield product, self._lift(self._operators[product.operator], lifter, target, proposal)
        self._pictures.clear()

    def _propose(self, lifter: Lifter, target: Target) -> RayProposal | str:
        try:
            return propose(lifter, target, self._inputs.frame, self._inputs.scene.depth_range)
        except NoOverlapError as error:
            return f"{error.reason}: {error}"

    def _plain(self, operator: Operator, target: Target) -> LiftedView:
        state, frame = self._states[operator.spec.name], self._inputs.frame(target.id)
        maps = self._inputs.features(operator, target.id)
        said = self._answers.of(operator, state, target.id) if carries_answers(operator.spec) else None
        return plain_view(operator, state, target, frame, maps, said)

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
        """Return the operator's maps of the picture that the proposal lifts."""
        name = lifter.spec.name
        if name not in self._pictures:
            self._pictures[name] = lift_picture(proposal, [self._inputs.frame(one) for one in proposal.source_ids])
        return encode_view(operator, self._pictures[name])


def _read(on_surface: OnSurface, target: Target, anchored: AnchoredTarget | str) -> Outcome:
    return SkippedTarget(target.id, anchored) if isinstance(anchored, str) else on_surface.lift(target, anchored)
