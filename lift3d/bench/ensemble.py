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
from lift3d.training.distill.ensemble import ensemble, surer
from lift3d.training.distill.field import DistilSettings
from lift3d.training.distill.scene import SurfaceBranches, directions

FLOOR, ANCHORED, FUSED, DISTILLED = "one class", "anchored", "fused-2D", "distilled-3D"
ENSEMBLE, EITHER = "ensemble", "either, if right"
# What its figures lie under in a store.
BENCH = "ensemble"

# By row, scores "place class".
Scored = dict[str, Tensor]
Asked = Sequence[tuple[Vocabulary, Scored]]
# By row, labels of pixels.
Named = dict[str, Int[Tensor, " pixel"]]
# By vocabulary, row and view: intersection over union by class.
Found = dict[str, dict[str, dict[int, dict[int, float]]]]


@dataclass(frozen=True, slots=True)
class EnsembleFigures:
    """Figures of one operator and one vocabulary in one scene.

    Attributes:
        points: Of the surface.
        off: 1 − cos between both branches, mean over points.
        means: mIoU by row, mean over views.
        by_class: IoU by class and row, mean over the views that show the class.
        gains: Of the ensemble over each branch, and of all three over raw2d, at the same views.
        chosen: At which share of the points the distilled branch is the surer.
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
    chosen: float
    command: str
    date: str


def measure(recipe: Recipe, store: str, settings: DistilSettings | None = None) -> list[EnsembleFigures]:
    """Return the figures of every operator in every scene, and keep them in the store, beside features and surfaces.

    NoOverlapError if a scene has no surface; SceneError if no pixel of it is annotated, or one class alone; ConfigError
    if an operator cannot be distilled.
    """
    opened, rows = open_store(store, create=True), []
    for location in recipe.scenes:
        for row in _of_scene(location, recipe.model_copy(update={"scenes": (location,)}), opened, settings):
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

    def __init__(
        self, inputs: SceneInputs, operator: Operator, recipe: Recipe, settings: DistilSettings | None = None
    ) -> None:
        surface = scene_surface(inputs, recipe.geometry, [*inputs.views], quiet, recipe.plugins).surface
        inputs.encode(operator, {*inputs.views}, quiet)
        self.inputs, self.operator, self.taps = inputs, operator, recipe.tap_count
        self.branches = SurfaceBranches.of(inputs, operator, surface, settings)
        state = fitted_state(inputs, operator, surface.ids)
        self._line = OnSurface(inputs, Answers(inputs), operator, state, surface.ids, recipe.tap_count)

    def view(self, number: int) -> SeenView:
        """Return a view of the surface."""
        return SeenView.of(self.inputs, self.branches.surface, number, self.taps)

    def on_points(self, vocabulary: Vocabulary) -> Scored:
        """Return the scores of both branches at the points of the surface, and of their ensemble."""
        fused, distilled = map(vocabulary.of_surface, (self.branches.fused, self.branches.distilled))
        return {FUSED: fused, DISTILLED: distilled, ENSEMBLE: ensemble(fused, distilled)}

    def on_view(self, asked: Asked, view: SeenView, some: Int[Tensor, " pixel"]) -> dict[str, Named]:
        """Return what each row names some pixels of a view, which stand on the surface, by vocabulary."""
        near, weight = self.branches.near(view.xyz[some])
        with torch.inference_mode():
            lifted = directions(self._line.fine(view.target)[0].features, self.operator.spec)
        plain, found = self._plain(view), {}
        for vocabulary, on_points in asked:
            scores = {
                RAW2D: _read(vocabulary.of_view, plain, view.uv[some]),
                ANCHORED: _read(vocabulary.of_surface, lifted, view.uv[some]),
                **{name: (one[near] * weight[..., None]).sum(1) for name, one in on_points.items()},
            }
            found[vocabulary.name] = {name: vocabulary.named(one) for name, one in scores.items()}
        return found

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
            raise SceneError(
                f"Of every second view of scene '{self.inputs.scene.id}' no pixel is annotated. Annotate more views."
            )
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


def _of_scene(
    location: str, recipe: Recipe, store: Store, settings: DistilSettings | None
) -> Iterator[EnsembleFigures]:
    inputs = SceneInputs(read_scene(location), store, recipe.image_height)
    inputs.decode_all(quiet)
    if all(inputs.frame(name).labels is None for name in inputs.views):
        raise SceneError(f"No view of scene '{inputs.scene.id}' is annotated. Choose a scene with labels.")
    for operator in Models.of(recipe).operators:
        judge = Judge(inputs, operator, recipe, settings)
        found: Found = {}
        chosen: dict[str, list[float]] = {}
        count = len(judge.branches.surface.views)
        for half in (0, 1):
            annotated = judge.annotated([*range(half, count, 2)])
            asked = [(one, judge.on_points(one)) for one in judge.vocabularies(annotated)]
            for number in range(1 - half, count, 2):
                _judge(judge, asked, annotated, number, found)
            for vocabulary, scores in asked:
                is_surer = surer(scores[FUSED], scores[DISTILLED])
                chosen.setdefault(vocabulary.name, []).append(float(is_surer.double().mean()))
        for name, by_row in found.items():
            yield _figures(judge, recipe, name, by_row, float(np.mean(chosen[name])))


def _judge(judge: Judge, asked: Asked, annotated: Annotated, number: int, found: Found) -> None:
    """Add intersections over union of a view, if anything of it is annotated."""
    view = judge.view(number)
    some = torch.nonzero(view.labels != UNKNOWN_LABEL)[:, 0]
    if not len(some):
        return
    truth = view.labels[some]
    for vocabulary, guesses in judge.on_view(asked, view, some).items():
        guesses[FLOOR] = annotated.labels.mode().values.expand(len(truth))
        is_right = (guesses[FUSED] == truth) | (guesses[DISTILLED] == truth)
        guesses[EITHER] = torch.where(is_right, truth, guesses[FUSED])
        for row, guess in guesses.items():
            found.setdefault(vocabulary, {}).setdefault(row, {})[number] = class_ious(guess, truth)


def _figures(
    judge: Judge,
    recipe: Recipe,
    vocabulary: str,
    by_row: Mapping[str, Mapping[int, dict[int, float]]],
    chosen: float,
) -> EnsembleFigures:
    inputs, branches = judge.inputs, judge.branches
    values = {
        row: np.array([np.mean([*by_view[view].values()]) for view in sorted(by_view)])
        for row, by_view in by_row.items()
    }
    classes = {row: mean_by_class([*by_view.values()]) for row, by_view in by_row.items()}
    names = inputs.scene.label_names
    over = {ENSEMBLE: (FUSED, DISTILLED, RAW2D), FUSED: (RAW2D,), DISTILLED: (RAW2D,)}
    gains = {row: {one: paired(values[row] - values[one]) for one in others} for row, others in over.items()}
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
