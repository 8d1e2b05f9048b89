"""The methods of the page on learning: the surface without and with learned votes, and lifters that propose."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from lift3d.bench.baseline_lifters import SeparateWeights, SharedWeights
from lift3d.bench.baselines import SEPARATE_WEIGHTS, SHARED_WEIGHTS
from lift3d.bench.learning_scene import LearningScene
from lift3d.bench.votes import FACED, FINE, PLACED, Rule, Witnesses
from lift3d.domain.features import FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedFeatures
from lift3d.domain.proposals import RayProposal
from lift3d.domain.scene import Frame
from lift3d.lifters.catalog import LIFT3D
from lift3d.lifters.checkpoint import load_checkpoint
from lift3d.lifters.corrective import Lift3D
from lift3d.operators.protocol import Operator
from lift3d.pipeline.anchor import OnSurface
from lift3d.pipeline.blend import lift_features
from lift3d.pipeline.decode import Answers, filled_features
from lift3d.pipeline.encode import encode_view
from lift3d.pipeline.fit import fitted_state
from lift3d.pipeline.propose import propose
from lift3d.pipeline.weigh import lift_picture, wants_guide
from lift3d.surface.anchors import AnchoredTarget
from lift3d.surface.bands import CRISPNESS

ANCHORED, VOTES, FINELY, FACING = "anchored", "votes", "votes: fine", "votes: facing"
# On the surface, and which rule their witnesses follow.
RULES: dict[str, Rule | None] = {ANCHORED: None, VOTES: PLACED, FINELY: FINE, FACING: FACED}
# The same with features made less crisp, by what the rules were found to want beside them.
SOFT = {f"{method}, softer": method for method in (ANCHORED, VOTES, FINELY)}
_SOFTER = 0.36
# Of a checkpoint: what stage I gives alone, with weights of stage II, with its residual.
DEPTH, WEIGHTS, RESIDUAL = "depth", "weights", "residual"


@dataclass(frozen=True, slots=True, eq=False)
class Lifted:
    """One target's features, holes filled, and the coverage of its cells."""

    features: FeatureMap
    coverage: torch.Tensor

    @classmethod
    def of(cls, one: LiftedFeatures) -> "Lifted":
        """Fill what nothing covers from the nearest that something does."""
        return cls(filled_features((one,))[0], one.coverage)


Lift = Callable[[ViewId], Lifted]


class Methods:
    """What every method gives of a scene's targets: of the last checkpoint with all its parts, of others the whole."""

    def __init__(self, scene: LearningScene, checkpoints: Mapping[str, str]) -> None:
        self._scene = scene
        self._seconds = dict.fromkeys(RULES, scene.seconds)
        began = time.process_time()
        witnesses = Witnesses(scene.surface)
        scalars = {name: witnesses.scalars(one) for name, one in scene.anchored.items()}
        for method in (VOTES, FINELY, FACING):
            self._seconds[method] += (time.process_time() - began) / len(scene.targets)
        self._anchored: dict[str, dict[ViewId, AnchoredTarget]] = {
            method: {
                name: one if rule is None else rule.voted(one, scalars[name]) for name, one in scene.anchored.items()
            }
            for method, rule in RULES.items()
        }
        self._lifters: dict[str, Lift3D] = {}
        self._proposals: dict[str, dict[ViewId, tuple[RayProposal, Frame]]] = {}
        for number, (name, path) in enumerate(checkpoints.items()):
            self._add(name, path, is_whole=number == len(checkpoints) - 1)

    def _add(self, name: str, path: str, *, is_whole: bool) -> None:
        networks = load_checkpoint(path)
        own = {f"{name}: {RESIDUAL}": Lift3D(LIFT3D, networks)}
        if is_whole:
            parts = (DEPTH, SharedWeights, SHARED_WEIGHTS), (WEIGHTS, SeparateWeights, SEPARATE_WEIGHTS)
            own = {f"{name}: {part}": kind(spec, networks) for part, kind, spec in parts} | own
        began, proposals = time.process_time(), {}
        inputs = self._scene.inputs
        for target in self._scene.targets.values():
            one = propose(next(iter(own.values())), target, inputs.frame, inputs.scene.depth_range)
            proposals[target.id] = one, lift_picture(one, [inputs.frame(source) for source in one.source_ids])
        seconds = (time.process_time() - began) / len(proposals)
        for method, lifter in own.items():
            self._lifters[method], self._proposals[method], self._seconds[method] = lifter, proposals, seconds

    def seconds_before(self, method: str) -> float:
        """Return what a target takes of the processor before any operator is lifted."""
        return self._seconds[SOFT.get(method, method)]

    def of(self, operator: Operator) -> dict[str, Lift]:
        """Return what lifts an operator's first cut to a target, by method; features of views are there by then."""
        scene, ids = self._scene, self._scene.surface.ids
        sources = {name for one in self._proposals.values() for of, _ in one.values() for name in of.source_ids}
        for name in sources | {*ids}:
            scene.inputs.features(operator, name)
        state = fitted_state(scene.inputs, operator, ids)

        def on_surface(method: str, name: ViewId) -> Lifted:
            # Laid out anew for each method, as for a run of its own.
            if method not in laid_out:
                answers, taps = Answers(scene.inputs), scene.recipe.tap_count
                crispness = _SOFTER if method in SOFT else CRISPNESS
                laid_out[method] = OnSurface(scene.inputs, answers, operator, state, ids, taps, crispness)
            with torch.inference_mode():
                return Lifted.of(laid_out[method].consensus(self._anchored[SOFT.get(method, method)][name])[0])

        def proposed(method: str, name: ViewId) -> Lifted:
            lifter, (proposal, picture) = self._lifters[method], self._proposals[method][name]
            maps = [scene.inputs.features(operator, source)[:1] for source in proposal.source_ids]
            grid, taps = scene.inputs.features(operator, name)[0].grid, scene.recipe.tap_count
            guides = encode_view(operator, picture) if wants_guide(lifter, operator) else None
            return Lifted.of(lift_features(operator.spec, lifter, proposal, maps, [grid], taps, guides, state)[0])

        laid_out: dict[str, OnSurface] = {}
        # Without any checkpoint there is time for more of the surface.
        methods = [*RULES, *(SOFT if not self._lifters else ())]
        surface: dict[str, Lift] = {method: partial(on_surface, method) for method in methods}
        return surface | {method: partial(proposed, method) for method in self._lifters}
