"""``docs/results-probe3d.md``: what raw and lifted features know of 3D, by matches between views and linear probes.

Every row is of the same targets, pairs and cells: ``raw2d`` is what the operator says of the true view, the others are
read off the surface, with the view among the sources (refine) or no target among them (heldout).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from lift3d.bench.kept_figures import keep, kept
from lift3d.bench.pages import PairedInterval, paired, replayed_command
from lift3d.bench.probe3d_measures import FITTED_CELLS, Cells, match_errors, probed
from lift3d.config import Recipe
from lift3d.domain.keys import ViewId
from lift3d.domain.records import RAW2D
from lift3d.domain.scene import Frame
from lift3d.domain.target import Target
from lift3d.errors import NoOverlapError
from lift3d.metrics.counting import evenly, median_angles
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.operators.protocol import Operator
from lift3d.pipeline.anchor import OnSurface
from lift3d.pipeline.decode import Answers
from lift3d.pipeline.fit import fitted_state
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.surface import scene_surface
from lift3d.pipeline.targets import choose_targets, sources_of_any
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import Store, open_store
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import AnchoredTarget
from lift3d.surface.scene_surface import SceneSurface

OPERATORS, LIFTERS = ("tiny:encoder",), ("anchored",)
REFINE, HELDOUT, SWEEP, FINER, PLACE = "refine", "heldout", "heldout, sweep", "heldout, finer cells", "place alone"
# What its figures lie under in a store.
BENCH = "probe3d"
# Target mode and method of geometry; None is the best that the scene has.
WAYS = {REFINE: ("refine", None), HELDOUT: ("heldout", None), SWEEP: ("heldout", "sweep")}
# Of baseline angles between two views, degrees.
BINS = ((0, 15), (15, 30), (30, 60), (60, 180))
# Of a view's points another must see so many to be paired with it; of those, so many per bin are, evenly by angle.
OVERLAP, PAIRS_PER_VIEW = 0.3, 2
# 10 px at a quarter of 480 rows, on any image; and lengths, where the world is in metres.
RIGHT_HEIGHTS, RIGHT_METRES = 10 / 120, {"2 cm": 0.02, "5 cm": 0.05}
RIGHT_ANGLE_DEG, RIGHT_RATIO = 30.0, 1.25
DEPTH_RMSE, DELTA1, NORMAL_DEG, NORMAL_RIGHT = "depth RMSE", "depth δ1", "normals, °", "normals within 30°"

Read = Callable[[ViewId], Float[Tensor, "cell channel"]]
Of = TypeVar("Of")
# By metric, a value per target; NaN where it has none.
Values = dict[str, Float64[np.ndarray, " view"]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two targets by number, the bin of the angle between them, and the share of a's points that b sees."""

    a: int
    b: int
    bin: int
    overlap: float


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """Figures of one operator in one scene.

    Attributes:
        geometry: Where the best surface of the scene comes from.
        overlaps: By bin that has pairs, how many and their mean overlap.
        means: By row and metric.
        gains: Of rows that are lifted, the same less raw2d's, at the same views.
    """

    scene: str
    geometry: str
    operator: str
    height: int
    targets: int
    overlaps: dict[str, tuple[int, float]]
    means: dict[str, dict[str, float]]
    gains: dict[str, dict[str, PairedInterval]]
    command: str
    date: str


def recall_name(right: str, number: int) -> str:
    """Return what recall in a bin is called."""
    return f"{right}, {BINS[number][0]}–{BINS[number][1]}°"


def measure(recipe: Recipe, store: str) -> list[ProbeFigures]:
    """Return the figures of every operator in every scene, and keep them in the store, beside features and surfaces.

    Raises:
        SceneError: If a target has no depth.
        NoOverlapError: If no two targets see the same.
    """
    opened, rows = open_store(store, create=True), []
    for location in recipe.scenes:
        for row in _of_scene(location, recipe.model_copy(update={"scenes": (location,)}), opened):
            keep(opened, BENCH, (row.scene, row.operator, row.height), row)
            rows.append(row)
    return rows


def measured_before(store: str) -> list[ProbeFigures]:
    """Return all figures that a store keeps, by scene and operator; ConfigError if there are none."""
    rows = kept(store, BENCH, ProbeFigures)
    return sorted(rows, key=lambda one: (one.scene, one.operator, one.height))


def _of_scene(location: str, recipe: Recipe, store: Store) -> Iterator[ProbeFigures]:
    inputs = SceneInputs(read_scene(location), store, recipe.image_height)
    inputs.decode_all(quiet)
    ways = {name: _Seen.by(inputs, recipe, mode, method) for name, (mode, method) in WAYS.items()}
    names = [name for name in ways[REFINE].targets if all(name in way.targets for way in ways.values())]
    cells = {name: Cells.of(inputs.frame(name)) for name in names}
    pairs = chosen_pairs([inputs.frame(name) for name in names])
    if not pairs:
        raise NoOverlapError(f"'{location}': no two targets see the same. Choose a smaller --holdout.")
    size = inputs.frame(names[0]).camera.size
    today = datetime.now(UTC).date().isoformat()
    for operator in Models.of(recipe).operators:
        inputs.encode(operator, set(inputs.views), quiet)
        reads = {RAW2D: _raw(inputs, operator, cells)}
        reads |= {name: way.reader(inputs, operator, cells, recipe) for name, way in ways.items()}
        if inputs.grids(operator, size)[0].stride_u > cells[names[0]].grid.stride_u:
            reads[FINER] = ways[HELDOUT].reader(inputs, operator, cells, recipe, is_fine=True)
        values = {row: _values(names, cells, pairs, read) for row, read in reads.items()}
        lifted = {row: own for row, own in values.items() if row != RAW2D}
        values[PLACE] = probe_values([cells[name] for name in names], [cells[name].uv for name in names])
        yield ProbeFigures(
            scene=inputs.scene.id,
            geometry=ways[HELDOUT].surface.method,
            operator=operator.spec.name,
            height=recipe.image_height,
            targets=len(names),
            overlaps=_overlaps(pairs),
            means={row: _of_each(own, lambda one: float(one.mean())) for row, own in values.items()},
            gains={row: _of_each(_less(own, values[RAW2D]), paired) for row, own in lifted.items()},
            command=replayed_command("probe3d", recipe),
            date=today,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What the targets see of one surface."""

    surface: SceneSurface
    targets: dict[ViewId, tuple[Target, AnchoredTarget]]

    @classmethod
    def by(cls, inputs: SceneInputs, recipe: Recipe, mode: str, method: str | None) -> "_Seen":
        """Look at the surface that the sources show; targets that see nothing of it are left out."""
        targets = choose_targets(tuple(inputs.views.values()), recipe.model_copy(update={"target_mode": mode}))
        shown_by = [name for name in inputs.views if name in sources_of_any(targets)]
        surface, seen = scene_surface(inputs, method, shown_by, quiet).surface, {}
        for one in targets:
            try:
                anchored = Anchored().anchor(surface, one.camera, one.source_ids, recipe.tap_count)
            except NoOverlapError:
                continue
            seen[one.id] = (one, anchored)
        return cls(surface, seen)

    def reader(
        self,
        inputs: SceneInputs,
        operator: Operator,
        cells: Mapping[ViewId, Cells],
        recipe: Recipe,
        *,
        is_fine: bool = False,
    ) -> Read:
        """Return what reads an operator's features at a target, on the network's cells or on finer ones."""
        state = fitted_state(inputs, operator, self.surface.ids)
        on = OnSurface(inputs, Answers(inputs), operator, state, self.surface.ids, recipe.tap_count)

        def read(name: ViewId) -> Float[Tensor, "cell channel"]:
            target, anchored = self.targets[name]
            with torch.inference_mode():
                lifted = on.fine(anchored) if is_fine else on.lift(target, anchored).lifted
                return cells[name].read(lifted[0].features)

        return read


def _raw(inputs: SceneInputs, operator: Operator, cells: Mapping[ViewId, Cells]) -> Read:
    return lambda name: cells[name].read(inputs.features(operator, name)[0])


def chosen_pairs(frames: Sequence[Frame]) -> list[Pair]:
    """Return ordered pairs of views that see much of the same, some of each bin for each view."""
    surface, chosen = DepthSurface(frames), []
    for a in range(len(frames)):
        others = torch.tensor([b for b in range(len(frames)) if b != a], dtype=torch.long)
        xyz, is_seen = surface.sights(a, others)
        angle = median_angles(xyz, surface.centers[a], surface.centers[others], is_seen)
        overlap = is_seen.double().mean(1)
        by_angle = angle.argsort(stable=True)
        for number, (low, high) in enumerate(BINS):
            fits = (angle >= low) & (angle < high) & (overlap >= OVERLAP)
            for at in evenly(by_angle[fits[by_angle]], PAIRS_PER_VIEW).tolist():
                chosen.append(Pair(a, int(others[at]), number, float(overlap[at])))
    return chosen


def _values(names: Sequence[ViewId], cells: Mapping[ViewId, Cells], pairs: Sequence[Pair], read: Read) -> Values:
    own, features = [cells[name] for name in names], [read(name) for name in names]
    return recall_values(own, pairs, features) | probe_values(own, features)


def recall_values(
    cells: Sequence[Cells], pairs: Sequence[Pair], features: Sequence[Float[Tensor, "cell channel"]]
) -> Values:
    """Return the recall of matches per bin, over the pairs that each view is the first of."""
    found: dict[str, dict[int, list[float]]] = {}
    for pair in pairs:
        world, heights = match_errors(cells[pair.a], cells[pair.b], features[pair.a], features[pair.b])
        right = {"10 px": heights < RIGHT_HEIGHTS} | {name: world < most for name, most in RIGHT_METRES.items()}
        for name, is_right in right.items():
            share = float(is_right.double().mean())
            found.setdefault(recall_name(name, pair.bin), {}).setdefault(pair.a, []).append(share)
    return {
        name: np.array([np.mean(by_view.get(view, [math.nan])) for view in range(len(cells))])
        for name, by_view in sorted(found.items())
    }


def probe_values(cells: Sequence[Cells], features: Sequence[Float[Tensor, "cell channel"]]) -> Values:
    """Return how well depth and normals are told of each view, by probes fitted on every second other view."""
    found = {name: np.full(len(cells), math.nan) for name in (DEPTH_RMSE, DELTA1, NORMAL_DEG, NORMAL_RIGHT)}
    depths = [one.z_depth[:, None].log() for one in cells]
    for half in (0, 1):
        for view, said in told(depths, features, half).items():
            z, guess = cells[view].z_depth[cells[view].is_known], said[:, 0].exp()
            found[DEPTH_RMSE][view] = float((guess - z).square().mean().sqrt())
            found[DELTA1][view] = float((torch.maximum(guess / z, z / guess) < RIGHT_RATIO).double().mean())
        for view, said in told([one.normal for one in cells], features, half).items():
            normal = cells[view].normal[_known(cells[view].normal)]
            cosine = (F.normalize(said, dim=1) * normal).sum(1).clamp(-1, 1)
            angle = torch.rad2deg(torch.acos(cosine))
            found[NORMAL_DEG][view] = float(angle.mean())
            found[NORMAL_RIGHT][view] = float((angle < RIGHT_ANGLE_DEG).double().mean())
    return {name: one for name, one in found.items() if np.isfinite(one).any()}


def told(
    truths: Sequence[Float[Tensor, "cell value"]],
    features: Sequence[Float[Tensor, "cell channel"]],
    half: int,
    *,
    is_bounded: bool = True,
) -> dict[int, Float[Tensor, "known value"]]:
    """Fit on one half of the views, and return what is said of the known cells of the other, as far as it was fitted.

    Cells are known where the truth is finite; ``is_bounded``: what is said stays within what was fitted.
    """
    known = [_known(truth) for truth in truths]
    fitted = [view for view in range(len(truths)) if view % 2 == half and bool(known[view].any())]
    asked = [view for view in range(len(truths)) if view % 2 != half and bool(known[view].any())]
    if not fitted:
        return {}
    x = evenly(torch.cat([features[view][known[view]] for view in fitted]), FITTED_CELLS)
    y = evenly(torch.cat([truths[view][known[view]] for view in fitted]), FITTED_CELLS)
    low, high = (y.amin(0), y.amax(0)) if is_bounded else (None, None)
    said = {view: probed(x, y, features[view][known[view]]) for view in asked}
    return {view: one.clamp(low, high) if is_bounded else one for view, one in said.items()}


def _known(truth: Float[Tensor, "cell value"]) -> Bool[Tensor, " cell"]:
    return torch.isfinite(truth).all(1)


def _overlaps(pairs: Sequence[Pair]) -> dict[str, tuple[int, float]]:
    by_bin = [[pair.overlap for pair in pairs if pair.bin == number] for number in range(len(BINS))]
    return {
        f"{low}–{high}°": (len(own), float(np.mean(own))) for (low, high), own in zip(BINS, by_bin, strict=True) if own
    }


def _less(own: Values, raw: Values) -> Values:
    return {name: one - raw[name] for name, one in own.items()}


def _of_each(values: Values, what: Callable[[Float64[np.ndarray, " view"]], Of]) -> dict[str, Of]:
    """Return what a function says of each metric, at the views that have it."""
    return {name: what(one[np.isfinite(one)]) for name, one in values.items()}
