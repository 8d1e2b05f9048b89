"""Fitting rules for votes: the consensus of what some views show is to predict what held-out views say.

Of a cell, the features of its witnesses enter by their products with one another and with the true view's alone, which
is all that cosines and squares of sums depend on: no channel is seen, and fitting takes seconds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.bench.kept_figures import keep, kept
from lift3d.bench.learning_scene import LearningScene
from lift3d.bench.pages import replayed_command
from lift3d.bench.votes import FACING, SCALARS, Rule, Scalars, Witnesses
from lift3d.config import Recipe
from lift3d.errors import ConfigError
from lift3d.geometry.sampling import sample
from lift3d.metrics.counting import counted_cells
from lift3d.operators.protocol import Operator
from lift3d.pipeline.models import Models
from lift3d.storage.location import open_store
from lift3d.surface.anchors import consensus_weights, guide_cells
from lift3d.surface.bands import CRISPNESS, crisp
from lift3d.training.settings import operator_label

# Witnesses and cells per target that are looked at.
WITNESSES, CELLS = 20, 100
STEPS, RATE, PENALTY = 120, 0.08, 1e-3
# What features are made crisper by, beside the scalars.
CRISPER = "crispness"
# What is tried: each scalar alone, then together, with and without what knows who looks.
_UNSEEING = tuple(name for name in SCALARS if name != FACING)
TRIED: tuple[tuple[str, ...], ...] = (
    *((name,) for name in SCALARS), (CRISPER,), ("off", "edge"), ("off", "finer"), _UNSEEING, (*_UNSEEING, CRISPER),
    ("off", "finer", FACING),
)  # fmt: skip
# What its figures lie under in a store.
BENCH = "learning-votes"
_LEAST_COVERAGE, _LEAST = 0.5, 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the witnesses of some cells say of one operator in one scene: plain maps, then crisp ones.

    Attributes:
        gram: Products of what they say.
        toward: Products of that with what the true view says.
        truth: Square of the latter's length.
        weight: Of the witnesses, by ``anchored``.
        scalars: Of the witnesses.
    """

    gram: Float[Tensor, "cell said said"]
    toward: Float[Tensor, "cell said"]
    truth: Float[Tensor, " cell"]
    weight: Float[Tensor, "cell witness"]
    scalars: Scalars

    def detached(self) -> "Evidence":
        """Return the same for training on."""
        return Evidence(*(getattr(self, one.name).clone() for one in fields(self)))

    def errors(self, log_weight: Tensor, crispness: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return means of 1 − cos, and of the square of what is wrong over that of the truth."""
        weight = torch.where(self.weight > 0, self.weight * log_weight.exp(), 0.0)
        weight = weight / weight.sum(1, keepdim=True).clamp(min=_LEAST)
        share = crispness / CRISPNESS
        said = torch.cat([(1 - share) * weight, share * weight], dim=1)
        length = (said[:, None] @ self.gram @ said[..., None]).flatten().clamp(min=_LEAST).sqrt()
        cosine = (said * self.toward).sum(1) / (length * self.truth.sqrt())
        # Anchored features are as long as those that they are a mean of.
        count = weight.shape[1]
        long = (weight * self.gram.diagonal(dim1=1, dim2=2)[:, count:].clamp(min=_LEAST).sqrt()).sum(1)
        square = 1 - 2 * long * cosine / self.truth.sqrt() + long.square() / self.truth
        return (1 - cosine).mean(), square.mean()


@dataclass(frozen=True, slots=True)
class FitFigures:
    """Rules that were fitted, by scalar, and the relative change of 1 − cos on all scenes, and on those left out."""

    scene_count: int
    operators: tuple[str, ...]
    rules: list[dict[str, float]]
    gains: list[float]
    gains_apart: list[float]
    command: str
    date: str


def measure(recipe: Recipe, store: str) -> FitFigures:
    """Fit all that is TRIED on the scenes and operators of a recipe, keep what comes of it in the store, return it."""
    opened, operators = open_store(store, create=True), Models.of(recipe).operators
    by_scene: list[list[Evidence]] = []
    for location in recipe.scenes:
        with torch.inference_mode():
            found = gathered(LearningScene.read(location, recipe, opened), operators)
        by_scene.append([one.detached() for one in found.values()])
    halves = [[one for scene in by_scene[start::2] for one in scene] for start in (0, 1)]
    every = [*halves[0], *halves[1]]
    rules = [fitted(every, names) for names in TRIED]
    apart = [
        sum(gain(halves[1 - half], fitted(halves[half], names)) for half in (0, 1)) / 2 if all(halves) else math.nan
        for names in TRIED
    ]
    names = tuple(operator_label(one) for one in recipe.operators)
    figures = FitFigures(
        scene_count=len(by_scene),
        operators=names,
        rules=[dict(rule.coefficients) for rule in rules],
        gains=[gain(every, rule) for rule in rules],
        gains_apart=apart,
        command=replayed_command("learning", recipe.model_copy(update={"operators": names}), fit=""),
        date=datetime.now(UTC).date().isoformat(),
    )
    keep(opened, BENCH, ("fit",), figures)
    return figures


def measured_before(store: str) -> list[FitFigures]:
    """Return what a store keeps of a fit, if anything."""
    try:
        return kept(store, BENCH, FitFigures)
    except ConfigError:
        return []


def fitted(evidence: Sequence[Evidence], names: Iterable[str]) -> Rule:
    """Return the rule of some scalars, CRISPER among them if it is named, that predicts held-out views best.

    The loss is the logarithm of 1 − cos and of the squared error, each over that of the plain consensus, so that every
    operator and scene weighs the same.
    """
    free = torch.tensor([float(one in {*names}) for one in (*SCALARS, CRISPER)])
    found = torch.zeros(len(free), requires_grad=True)
    plain = [one.errors(torch.zeros_like(one.weight), CRISPNESS) for one in evidence]
    optimizer = torch.optim.Adam([found], RATE)
    for _ in range(STEPS):
        kept = found * free
        total = PENALTY * kept.square().sum()
        for one, errors in zip(evidence, plain, strict=True):
            now = one.errors(one.scalars @ kept[:-1], CRISPNESS * (1 + kept[-1]))
            total = total + sum(0.5 * (a / b).log() for a, b in zip(now, errors, strict=True)) / len(evidence)
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    values = dict(zip((*SCALARS, CRISPER), (found.detach() * free).tolist(), strict=True))
    return Rule({name: values[name] for name in (*SCALARS, CRISPER) if name in {*names}})


def gain(evidence: Sequence[Evidence], rule: Rule) -> float:
    """Return by how much a rule lessens 1 − cos, relative, the mean over operators and scenes; negative is less."""
    crispness = CRISPNESS * (1 + rule.coefficients.get(CRISPER, 0.0))
    changes = []
    for one in evidence:
        plain, now = (
            one.errors(log_weight, by)[0]
            for log_weight, by in ((torch.zeros_like(one.weight), CRISPNESS), (rule.log_weight(one.scalars), crispness))
        )
        changes.append(float(now / plain - 1))
    return sum(changes) / len(changes)


def gathered(scene: LearningScene, operators: Iterable[Operator], seed: int = 0) -> dict[str, Evidence]:
    """Return the evidence of each operator at the held-out views of a scene, by its name."""
    witnesses = Witnesses(scene.surface)
    scalars = {name: witnesses.scalars(one) for name, one in scene.anchored.items()}
    found = {}
    for operator in operators:
        parts = [_of_target(scene, operator, name, scalars[name], seed) for name in scene.anchored]
        found[operator.spec.name] = _joined([one for one in parts if len(one.truth)])
    return found


def _of_target(scene: LearningScene, operator: Operator, name: str, scalars: Scalars, seed: int) -> Evidence:
    truth, anchored = scene.inputs.features(operator, name)[0], scene.anchored[name]
    weights = consensus_weights(anchored, truth.grid, WITNESSES)
    long = truth.values.flatten(1).norm(dim=0)
    counts = counted_cells(scene.inputs.frame(name).is_valid, truth.grid).flatten()
    places = torch.nonzero(counts & (weights.coverage > _LEAST_COVERAGE) & (long > 0))[:, 0]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
    picked = places[order[:CELLS]]
    source, uv, weight = (one[picked] for one in (weights.source, weights.uv, weights.weight))
    said = torch.zeros(2, *source.shape, truth.channel_count)
    for place in torch.unique(source[weight > 0]).tolist():
        at = (source == place) & (weight > 0)
        one = scene.inputs.features(operator, weights.source_ids[place])[0]
        for number, values in enumerate((one.values.float(), crisp(one.values.float(), one.grid.stride_u))):
            said[number][at] = sample(values, uv[at], *one.grid.placement).T
    both = said.permute(1, 0, 2, 3).flatten(1, 2)
    own = truth.values.float().flatten(1)[:, picked].T
    return Evidence(
        gram=both @ both.transpose(1, 2),
        toward=(both @ own[..., None])[..., 0],
        truth=own.square().sum(1),
        weight=weight,
        scalars=scalars[guide_cells(anchored, truth.grid)[picked]][:, : weight.shape[1]],
    )


def _joined(parts: Sequence[Evidence]) -> Evidence:
    """Return the cells of several targets as one's, of as many witnesses as any has."""
    most = max(one.weight.shape[1] for one in parts)

    def padded(one: Evidence) -> Mapping[str, Tensor]:
        more = most - one.weight.shape[1]
        cells, own = one.weight.shape
        gram = F.pad(one.gram.reshape(cells, 2, own, 2, own), (0, more, 0, 0, 0, more)).reshape(cells, 2 * most, -1)
        return {
            "gram": gram,
            "toward": F.pad(one.toward.reshape(cells, 2, own), (0, more)).reshape(cells, -1),
            "truth": one.truth,
            "weight": F.pad(one.weight, (0, more)),
            "scalars": F.pad(one.scalars, (0, 0, 0, more)),
        }

    every = [padded(one) for one in parts]
    return Evidence(**{name: torch.cat([one[name] for one in every]) for name in every[0]})
