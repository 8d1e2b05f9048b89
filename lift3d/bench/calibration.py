"""``docs/results-calibration.md``: is what is said to be 90 % sure right nine times in ten, at views held out?

Of a cell of a held-out view: is its depth within 3 % of the sensor's or computed one, is its label the annotated one,
and how near are its features to those of the true view (their cosine, taken as a share of being right).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from lift3d.config import Recipe
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedFeatures
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells
from lift3d.operators.protocol import Operator
from lift3d.pipeline.anchor import OnSurface, averages_probabilities
from lift3d.pipeline.decode import Answers
from lift3d.pipeline.fit import fitted_state
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.score import in_labels_of
from lift3d.pipeline.surface import scene_surface
from lift3d.pipeline.targets import choose_targets
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.depth_range import depth_range_of_cameras
from lift3d.storage.location import open_store
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import GUESSED, evidence_at
from lift3d.surface.catalog import geometry_spec
from lift3d.surface.confidence import DEPTH, FEATURES, LABELS, Calibration

Kind = Literal["depth", "labels", "features"]
SHIPPED: dict[Kind, Calibration] = {"depth": DEPTH, "labels": LABELS, "features": FEATURES}
SCENES = (
    "procedural:room?seed=9001&views=20&height=96&width=128",
    "procedural:tabletop?seed=9002&views=20&height=96&width=128",
    "procedural:street?seed=9003&views=20&height=96&width=128",
)
OPERATORS = ("rgb", "tiny:segmenter", "tiny:encoder", "hog")
METHODS = ("sweep", "sensor")
IMAGE_HEIGHT, HOLDOUT = 96, 5
# Depth within this share of the true one is right.
RIGHT_DEPTH = 0.03
BINS = 10
_EXTREME = 1e-3

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Cells of the held-out views of one scene: how sure each is, on what grounds, and how right it is, in [0, 1]."""

    scene: str
    method: str
    operator: str
    kind: Kind
    confidence: Column
    place: Column
    right: Column

    @property
    def grounds(self) -> NDArray[np.float64]:
        """Log odds of agreement, as the shipped constants read it, and of the place."""
        own, place = SHIPPED[self.kind], _log_odds(self.place)
        rest = _log_odds(self.confidence, 1e-6) - own.offset - own.place * place
        return np.column_stack([rest / own.agreement, place] if own.agreement else [place])


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far confidence is what it says.

    Attributes:
        cells: How many were asked.
        confidence: Their mean.
        right: Share that are right.
        error: Expected calibration error over bins of equal width.
        skill: 1 − Brier score / that of saying the mean always: what confidence tells of single cells.
        bins: Mean confidence, share right and cells of each bin that has some.
    """

    scene: str
    method: str
    operator: str
    kind: Kind
    cells: int
    confidence: float
    right: float
    error: float
    skill: float
    bins: tuple[tuple[float, float, int], ...]

    @classmethod
    def of(cls, one: Samples) -> "Reliability":
        """Compare.

        Source:
            Guo et al., On calibration of modern neural networks, ICML 2017, §2 (expected calibration error).
        """
        place = np.minimum((one.confidence * BINS).astype(int), BINS - 1)
        chosen = [place == number for number in range(BINS) if (place == number).any()]
        bins = tuple((float(one.confidence[it].mean()), float(one.right[it].mean()), int(it.sum())) for it in chosen)
        error = sum(count * abs(sure - right) for sure, right, count in bins) / len(place)
        spread = float(one.right.var())
        skill = 1 - float(np.square(one.confidence - one.right).mean()) / spread if spread > 0 else 0.0
        means = (float(one.confidence.mean()), float(one.right.mean()))
        return cls(one.scene, one.method, one.operator, one.kind, len(place), *means, error, skill, bins)


def samples(location: str, method: str, recipe: Recipe, store: str) -> list[Samples]:
    """Return the cells of a scene's held-out views, per operator; depth is judged with ``rgb``.

    Methods that need no depth get the range of depth from the cameras alone, as without a sensor.
    """
    models, scene = Models.of(recipe), read_scene(location)
    if not geometry_spec(method).needs_depth and scene.has_depth:
        scene = replace(scene, depth_range=depth_range_of_cameras([view.camera for view in scene.views])[0])
    inputs = SceneInputs(scene, open_store(store, create=True), recipe.image_height)
    inputs.decode_all(quiet)
    targets = choose_targets(tuple(inputs.views.values()), recipe)
    names = [name for name in inputs.views if any(name in target.source_ids for target in targets)]
    surface = scene_surface(inputs, method, names, quiet).surface
    taps = recipe.tap_count
    seen = [Anchored().anchor(surface, target.camera, target.source_ids, taps) for target in targets]
    answers = Answers(inputs)
    found = []
    for operator in models.operators:
        inputs.encode(operator, set(inputs.views), quiet)
        state = fitted_state(inputs, operator, names)
        on_surface = OnSurface(inputs, answers, operator, state, surface.ids, taps)
        columns: list[tuple[Tensor, ...]] = []
        for target, anchored in zip(targets, seen, strict=True):
            first = on_surface.lift(target, anchored).lifted[0]
            sure, place = first.confidence, evidence_at(anchored, first.features.grid)
            right, counts = _right(inputs, operator, target.id, first)
            # What is read through a gap claims nothing: its confidence is 0.
            counts &= (first.coverage > GUESSED).flatten()
            columns += [tuple(one.flatten()[counts] for one in (sure, place, right))] if sure is not None else []
        parts = (torch.cat(column).double().numpy() for column in zip(*columns, strict=True))
        found.append(Samples(scene.id, method, operator.spec.name, kind_of(operator), *parts))
    return [one for one in found if len(one.right)]


def kind_of(operator: Operator) -> Kind:
    """Return what an operator's confidence is of: that of light is of depth."""
    if operator.spec.quantity == "color":
        return "depth"
    return "labels" if averages_probabilities(operator.spec) else "features"


def _right(
    inputs: SceneInputs, operator: Operator, name: ViewId, lifted: LiftedFeatures
) -> tuple[Float[Tensor, " cell"], Bool[Tensor, " cell"]]:
    """Return how right each cell is, and which cells can be judged."""
    frame = in_labels_of(operator.spec, inputs.frame(name), inputs.scene.label_names)
    values, kind = lifted.features.values.flatten(1), kind_of(operator)
    pixel = nearest_cells(cell_centers(*lifted.features.grid.lattice).reshape(-1, 2), *frame.is_valid.shape)
    is_valid = frame.is_valid.flatten()[pixel]
    if kind == "depth" and frame.z_depth is not None:
        z = frame.z_depth.flatten()[pixel]
        return ((lifted.z_depth.flatten() - z).abs() < RIGHT_DEPTH * z).float(), is_valid & torch.isfinite(z)
    if kind == "labels" and frame.labels is not None:
        labels = frame.labels.flatten()[pixel]
        return (values.argmax(0) == labels).float(), is_valid & (labels != UNKNOWN_LABEL)
    if kind != "features":
        return torch.zeros(len(pixel)), torch.zeros_like(is_valid)
    cosine = torch.nn.functional.cosine_similarity(values, inputs.features(operator, name)[0].values.flatten(1), dim=0)
    return cosine.clamp(0, 1), is_valid & torch.isfinite(cosine)


def fitted(found: Sequence[Samples]) -> Iterator[tuple[Kind, Calibration]]:
    """Yield the constants that make confidences of scenes likeliest; every set of samples weighs alike."""
    for kind, own in SHIPPED.items():
        chosen = [one for one in found if one.kind == kind]
        if not chosen:
            continue
        x = np.concatenate([np.column_stack([np.ones(len(one.right)), one.grounds]) for one in chosen])
        right = np.concatenate([one.right for one in chosen])
        weight = np.concatenate([np.full(len(one.right), 1 / len(one.right)) for one in chosen])

        def loss(w: Column, x: Column = x, right: Column = right, weight: Column = weight) -> float:
            return float(weight @ (np.logaddexp(0, x @ w) - right * (x @ w)))

        w = minimize(loss, np.zeros(x.shape[1]), method="BFGS").x.tolist()
        yield kind, Calibration(w[0], w[1], w[2]) if own.agreement else Calibration(w[0], 0.0, w[1])


def _log_odds(share: Column, extreme: float = _EXTREME) -> Column:
    kept = np.clip(share, extreme, 1 - extreme)
    odds: Column = np.log(kept / (1 - kept))
    return odds
