"""``docs/results-ensemble.md``: features fused on the surface, what a 3D network makes of them, the surer of both.

All views are sources. Rows are of the same pixels: those that are annotated and stand on the surface.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.bench.ensemble_measures import (
    Annotated,
    Scores,
    Vocabulary,
    by_annotated,
    by_own_labels,
    by_words,
    class_ious,
    mean_by_class,
)
from lift3d.bench.kept_figures import keep, kept
from lift3d.bench.pages import PairedInterval, paired, replayed_command
from lift3d.bench.probe3d_measures import FITTED_CELLS, read_at
from lift3d.config import Recipe
from lift3d.domain.features import FeatureMap
from lift3d.domain.records import RAW2D
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.errors import SceneError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.metrics.counting import evenly
from lift3d.operators.open_vocabulary import TextEncoder
from lift3d.operators.protocol import Operator
from lift3d.pipeline.anchor import OnSurface, averages_probabilities
from lift3d.pipeline.decode import Answers
from lift3d.pipeline.fit import fitted_state
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.surface import scene_surface
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import Store, open_store
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import AnchoredTarget
from lift3d.surface.scene_surface import SceneSurface
from lift3d.training.distill.ensemble import RULES, ensemble, surer
from lift3d.training.distill.scene import SurfaceBranches, directions

FLOOR, ANCHORED, FUSED, DISTILLED, EITHER = "one class", "anchored", "fused-2D", "distilled-3D", "either, if right"
ENSEMBLES = {rule: f"ensemble, {rule}" for rule in RULES}
# What its figures lie under in a store.
BENCH = "ensemble"

Scored = dict[str, Float[Tensor, "pixel class"]]


@dataclass(frozen=True, slots=True)
class EnsembleFigures:
    """Figures of one operator and one vocabulary in one scene.

    Attributes:
        points: Of the surface.
        off: 1 − cos between both branches, mean over points.
        means: mIoU by row, mean over views.
        by_class: IoU by class and row, mean over the views that show the class.
        gains: Of each ensemble over each branch, and of either branch over raw2d, at the same views.
        chosen: By rule, at which share of the points the distilled branch is the surer.
    """

    scene: str
    operator: str
    vocabulary: str
    height: int
    geometry: str
    views: int
    points: int
    off: float
    means: dict[str, float]
    by_class: dict[str, dict[str, float]]
    gains: dict[str, dict[str, PairedInterval]]
    chosen: dict[str, float]
    command: str
    date: str


def measure(recipe: Recipe, store: str) -> list[EnsembleFigures]:
    """Return the figures of every operator in every scene, and keep them in the store, beside features and surfaces.

    NoOverlapError if a scene has no surface; SceneError if no pixel of it is annotated, or one class alone; ConfigError
    if an operator cannot be distilled.
    """
    opened, rows = open_store(store, create=True), []
    for location in recipe.scenes:
        for row in _of_scene(location, recipe.model_copy(update={"scenes": (location,)}), opened):
            keep(opened, BENCH, (row.scene, row.operator, row.vocabulary, row.height), row)
            rows.append(row)
    return rows


def measured_before(store: str) -> list[EnsembleFigures]:
    """Return all figures that a store keeps, by scene and operator; ConfigError if there are none."""
    return sorted(kept(store, BENCH, EnsembleFigures), key=lambda one: (one.scene, one.operator, one.vocabulary))


@dataclass(frozen=True, slots=True, eq=False)
class SeenView:
    """One view before the surface: its pixels, where they stand in the world, NaN where on nothing, and labels."""

    name: str
    size: tuple[int, int]
    uv: Float[Tensor, "pixel 2"]
    xyz: Float[Tensor, "pixel 3"]
    labels: Int[Tensor, " pixel"]
    target: AnchoredTarget

    @classmethod
    def of(cls, inputs: SceneInputs, surface: SceneSurface, number: int, taps: int) -> "SeenView":
        """Look at the surface from one of its views; labels are unknown where no surface is."""
        view = surface.views[number]
        frame, camera, size = inputs.frame(view.id), view.camera, view.camera.size
        target = Anchored().anchor(surface, camera, surface.ids, taps)
        uv = cell_centers(size.height, size.width).reshape(-1, 2)
        xyz = transform(camera.c2w, unproject(uv.double(), target.depth.at(uv).double(), camera.K))
        given = torch.full((size.height, size.width), UNKNOWN_LABEL) if frame.labels is None else frame.labels
        is_known = frame.is_valid.flatten() & torch.isfinite(xyz).all(1)
        labels = torch.where(is_known, given.flatten().long(), UNKNOWN_LABEL)
        return cls(view.id, (size.height, size.width), uv, xyz, labels, target)


class Judge:
    """One operator on one scene: what its rows say of the pixels of views."""

    def __init__(self, inputs: SceneInputs, operator: Operator, recipe: Recipe) -> None:
        surface = scene_surface(inputs, recipe.geometry, [*inputs.views], quiet).surface
        inputs.encode(operator, {*inputs.views}, quiet)
        self.inputs, self.operator, self.taps = inputs, operator, recipe.tap_count
        self.branches = SurfaceBranches.of(inputs, operator, surface)
        state = fitted_state(inputs, operator, surface.ids)
        self._line = OnSurface(inputs, Answers(inputs), operator, state, surface.ids, recipe.tap_count)

    def view(self, number: int) -> SeenView:
        """Return a view of the surface."""
        return SeenView.of(self.inputs, self.branches.surface, number, self.taps)

    def on_points(self, vocabulary: Vocabulary) -> Scored:
        """Return the scores of both branches at the points of the surface, and of their ensembles."""
        fused, distilled = map(vocabulary.of_surface, (self.branches.fused, self.branches.distilled))
        surest = {name: ensemble(fused, distilled, rule) for rule, name in ENSEMBLES.items()}
        return {FUSED: fused, DISTILLED: distilled, **surest}

    def on_view(
        self, vocabulary: Vocabulary, on_points: Scored, view: SeenView, some: Int[Tensor, " pixel"]
    ) -> dict[str, Int[Tensor, " pixel"]]:
        """Return what each row names some pixels of a view, which stand on the surface."""
        near, weight = self.branches.near(view.xyz[some])
        with torch.inference_mode():
            lifted = directions(self._line.fine(view.target)[0].features, self.operator.spec)
        scores = {
            RAW2D: _read(vocabulary.of_view, self._plain(view), view.uv[some]),
            ANCHORED: _read(vocabulary.of_surface, lifted, view.uv[some]),
            **{name: (one[near] * weight[..., None]).sum(1) for name, one in on_points.items()},
        }
        return {name: vocabulary.named(one) for name, one in scores.items()}

    def annotated(self, views: Sequence[int]) -> Annotated:
        """Return a few annotated pixels of each of some views, all alike."""
        found = []
        for number in views:
            view = self.view(number)
            some = evenly(torch.nonzero(view.labels != UNKNOWN_LABEL)[:, 0], max(1, FITTED_CELLS // len(views)))
            near, weight = self.branches.near(view.xyz[some])
            on_surface = (self.branches.fused[near] * weight[..., None]).sum(1)
            found.append((read_at(self._plain(view), view.uv[some]), on_surface, view.labels[some]))
        of_view, of_surface, labels = (torch.cat(column) for column in zip(*found, strict=True))
        if not len(labels):
            raise SceneError(f"No pixel of scene '{self.inputs.scene.id}' is annotated. Choose a scene with labels.")
        return Annotated(of_view, of_surface, labels)

    def vocabularies(self, some: Annotated) -> tuple[Vocabulary, ...]:
        """Return what names the classes: words, or the network's labels, where it has them, else annotated pixels."""
        if isinstance(self.operator, TextEncoder):
            names, seen = self.inputs.scene.label_names, set[int]()
            for one in self.branches.surface.ids:
                labels = self.inputs.frame(one).labels
                seen |= set() if labels is None else {*torch.unique(labels).tolist()}
            return (by_words(self.operator, {one: names[one] for one in sorted(seen) if one in names}),)
        if averages_probabilities(self.operator.spec):
            first = self.inputs.features(self.operator, self.branches.surface.ids[0])[0]
            return (by_own_labels(first.channel_count),)
        return by_annotated(some)

    def _plain(self, view: SeenView) -> FeatureMap:
        return directions(self.inputs.features(self.operator, view.name)[0], self.operator.spec)


def _read(scores: Scores, one: FeatureMap, uv: Float[Tensor, "pixel 2"]) -> Float[Tensor, "pixel class"]:
    """Read scores of cells at pixels: few of them instead of all channels."""
    cells = scores(one.values.flatten(1).T)
    return read_at(FeatureMap(cells.T.reshape(-1, *one.grid.shape), one.grid), uv)


def _of_scene(location: str, recipe: Recipe, store: Store) -> Iterator[EnsembleFigures]:
    inputs = SceneInputs(read_scene(location), store, recipe.image_height)
    inputs.decode_all(quiet)
    for operator in Models.of(recipe).operators:
        judge = Judge(inputs, operator, recipe)
        # By vocabulary, row and view: intersection over union by class.
        found: dict[str, dict[str, dict[int, dict[int, float]]]] = {}
        chosen: dict[str, dict[str, list[float]]] = {}
        for half in (0, 1):
            count = len(judge.branches.surface.views)
            annotated = judge.annotated([*range(half, count, 2)])
            for vocabulary in judge.vocabularies(annotated):
                by_row = found.setdefault(vocabulary.name, {})
                _judge(judge, vocabulary, annotated, range(1 - half, count, 2), by_row)
                _choices(judge.on_points(vocabulary), chosen.setdefault(vocabulary.name, {}))
        for name, by_row in found.items():
            yield _figures(
                judge, recipe, name, by_row, {rule: float(np.mean(one)) for rule, one in chosen[name].items()}
            )


def _judge(
    judge: Judge,
    vocabulary: Vocabulary,
    annotated: Annotated,
    views: Sequence[int],
    by_row: dict[str, dict[int, dict[int, float]]],
) -> None:
    """Add intersections over union of views."""
    on_points = judge.on_points(vocabulary)
    for number in views:
        view = judge.view(number)
        some = torch.nonzero(view.labels != UNKNOWN_LABEL)[:, 0]
        if not len(some):
            continue
        truth, guesses = view.labels[some], judge.on_view(vocabulary, on_points, view, some)
        guesses[FLOOR] = annotated.labels.mode().values.expand(len(truth))
        is_right = (guesses[FUSED] == truth) | (guesses[DISTILLED] == truth)
        guesses[EITHER] = torch.where(is_right, truth, guesses[FUSED])
        for row, guess in guesses.items():
            by_row.setdefault(row, {})[number] = class_ious(guess, truth)


def _choices(on_points: Scored, chosen: dict[str, list[float]]) -> None:
    for rule, name in ENSEMBLES.items():
        share = surer(on_points[FUSED], on_points[DISTILLED], rule).double().mean()
        chosen.setdefault(name, []).append(float(share))


def _figures(
    judge: Judge,
    recipe: Recipe,
    vocabulary: str,
    by_row: Mapping[str, Mapping[int, dict[int, float]]],
    chosen: dict[str, float],
) -> EnsembleFigures:
    inputs, branches = judge.inputs, judge.branches
    values = {
        row: np.array([np.mean([*by_view[view].values()]) for view in sorted(by_view)])
        for row, by_view in by_row.items()
    }
    classes = {row: mean_by_class([*by_view.values()]) for row, by_view in by_row.items()}
    names = inputs.scene.label_names
    gains = {row: {over: paired(values[row] - values[over]) for over in (FUSED, DISTILLED)} for row in chosen}
    gains |= {row: {RAW2D: paired(values[row] - values[RAW2D])} for row in (FUSED, DISTILLED)}
    return EnsembleFigures(
        scene=inputs.scene.id,
        operator=judge.operator.spec.name,
        vocabulary=vocabulary,
        height=recipe.image_height,
        geometry=branches.surface.method,
        views=len(values[FUSED]),
        points=len(branches.points.xyz),
        off=float((1 - (branches.fused * branches.distilled).sum(1)).mean()),
        means={row: float(own.mean()) for row, own in values.items()},
        by_class={
            names.get(label, str(label)): {row: own[label] for row, own in classes.items()} for label in classes[FUSED]
        },
        gains=gains,
        chosen=chosen,
        command=replayed_command(BENCH, recipe),
        date=datetime.now(UTC).date().isoformat(),
    )
