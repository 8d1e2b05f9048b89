"""``docs/results-learning.md``: what learning adds to the surface, on features of networks that no training saw.

Every method gives features of the same held-out views. How near they are to what the 2D model says of the true view,
and how far two views' features differ at one surface point, is told of the first cut, whatever the model decodes.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.bench.coarse_features import CoarseFeatures
from lift3d.bench.kept_figures import keep, kept
from lift3d.bench.learned_methods import Methods
from lift3d.bench.learning_scene import LearningScene
from lift3d.bench.pages import replayed_command
from lift3d.config import Recipe
from lift3d.domain.features import FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.domain.records import RAW2D
from lift3d.geometry.sampling import sample
from lift3d.metrics.correspondence import Correspondence
from lift3d.metrics.counting import counted_cells
from lift3d.metrics.figures import LONG_RANGE_DEG, SHORT_RANGE_DEG
from lift3d.metrics.protocol import Matches
from lift3d.operators.protocol import Operator
from lift3d.pipeline.inputs import quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.score import corresponding
from lift3d.storage.location import open_store

# What its figures lie under in a store.
BENCH = "learning"
RANGES = {"long": LONG_RANGE_DEG, "short": SHORT_RANGE_DEG}
_LEAST_COVERAGE = 0.5

Maps = dict[ViewId, FeatureMap]


@dataclass(frozen=True, slots=True)
class LearningFigures:
    """Figures of one operator in one scene.

    Attributes:
        scene: Its name.
        geometry: Where its surface comes from.
        operator: Its name.
        height: Of the images.
        covered: Share of the targets' cells that every method covers, on which nearness is told.
        near: By method, 1 − cos to the true view's own features, the mean over cells of each target.
        excess: By range, then by method (raw2d among them): 1 − cos between two views of a surface point less what the
            warp alone makes of it, the mean of each pair.
        seconds: By method, processor time of one target and operator, encoding and the surface left out.
        command: What measured them.
        date: When.
    """

    scene: str
    geometry: str
    operator: str
    height: int
    covered: float
    near: dict[str, list[float]]
    excess: dict[str, dict[str, list[float]]]
    seconds: dict[str, float]
    command: str
    date: str


def measure(recipe: Recipe, given: Sequence[str], store: str) -> list[LearningFigures]:
    """Return figures of every operator in every scene, kept in the store; ``given`` are checkpoints, if there are any.

    ConfigError if there is no such checkpoint, NoOverlapError if held-out views see nothing in common.
    """
    checkpoints = {PurePath(one).stem: one for one in given}
    opened, rows = open_store(store, create=True), []
    operators = [CoarseFeatures(one) for one in Models.of(recipe).operators]
    command = replayed_command(BENCH, recipe) + "".join(f" --checkpoint {name}" for name in checkpoints)
    for location in recipe.scenes:
        scene = LearningScene.read(location, recipe, opened)
        for row in _of_scene(scene, operators, Methods(scene, checkpoints), command):
            keep(opened, BENCH, (row.scene, row.operator, row.height, *(() if given else ("surface",))), row)
            rows.append(row)
    return rows


def measured_before(store: str) -> list[LearningFigures]:
    """Return all figures that a store keeps, by operator and scene; ConfigError if there are none."""
    return sorted(kept(store, BENCH, LearningFigures), key=lambda one: (one.operator, one.scene, one.height))


def _of_scene(
    scene: LearningScene, operators: Sequence[Operator], methods: Methods, command: str
) -> Iterator[LearningFigures]:
    names = [*scene.targets]
    found, _ = corresponding(scene.inputs, [*scene.targets.values()], quiet)
    for operator in operators:
        truth = {name: scene.inputs.features(operator, name)[0] for name in names}
        maps: dict[str, Maps] = {RAW2D: truth}
        coverage = {name: _valid(scene, name, one) for name, one in truth.items()}
        seconds: dict[str, float] = {}
        for method, lift in methods.of(operator).items():
            began = time.process_time()
            lifted = {name: lift(name) for name in names}
            seconds[method] = methods.seconds_before(method) + (time.process_time() - began) / len(names)
            maps[method] = {name: one.features for name, one in lifted.items()}
            for name, one in lifted.items():
                coverage[name] = coverage[name] & (one.coverage >= _LEAST_COVERAGE)
        yield LearningFigures(
            scene=scene.inputs.scene.id,
            geometry=scene.surface.method,
            operator=operator.spec.name,
            height=scene.recipe.image_height,
            covered=float(torch.cat([one.flatten() for one in coverage.values()]).float().mean()),
            near={method: [_distance(own[name], truth[name], coverage[name]) for name in names if coverage[name].any()]
                  for method, own in maps.items() if method != RAW2D},
            excess={reach: {method: _excesses(own, names, found, reach) for method, own in maps.items()}
                    for reach in RANGES},
            seconds=seconds,
            command=command,
            date=datetime.now(UTC).date().isoformat(),
        )  # fmt: skip


def _valid(scene: LearningScene, name: ViewId, one: FeatureMap) -> Tensor:
    counts: Tensor = counted_cells(scene.inputs.frame(name).is_valid, one.grid) & (one.values.norm(dim=0) > 0)
    return counts


def _distance(lifted: FeatureMap, truth: FeatureMap, counts: Tensor) -> float:
    cosine = F.cosine_similarity(lifted.values.double(), truth.values.double(), dim=0, eps=1e-12)
    return float(1 - cosine[counts].mean())


def _excesses(maps: Maps, names: Sequence[ViewId], found: Correspondence, reach: str) -> list[float]:
    """Return, of pairs of views at a range of angles, how much more features differ than the warp alone tells."""
    low, high = RANGES[reach]
    pairs = [(names[a], names[b], one) for (a, b), one in sorted(found.matches.items()) if low <= one.angle_deg < high]
    return [_excess(maps[a], maps[b], one) for a, b, one in pairs]


def _excess(a: FeatureMap, b: FeatureMap, matches: Matches) -> float:
    at_a, at_b, again = (_read(one, uv) for one, uv in ((a, matches.uv_a), (b, matches.uv_b), (b, matches.uv_b_floor)))
    error, floor = (1 - F.cosine_similarity(one, at_b, dim=0, eps=1e-12) for one in (at_a, again))
    return float((error - floor).mean())


def _read(one: FeatureMap, uv: Float[Tensor, "point 2"]) -> Float[Tensor, "channel point"]:
    return sample(one.values.double(), uv.double(), *one.grid.placement)
