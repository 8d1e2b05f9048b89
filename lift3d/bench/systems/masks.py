"""Class-agnostic masks of computed rooms and captures: AP, AP50, AP25 and PQ on the points of the surface.

The truth of a point is what views' annotations say there: instances, or classes where there are no instances. As in
ScanNet, walls and floors are no instances, nor is what is called background; nor are ceilings, which it does not label.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy import ndarray

import lift3d
from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.domain.keys import ViewId
from lift3d.domain.scene import UNKNOWN_LABEL, Frame
from lift3d.errors import SceneError
from lift3d.metrics.instance_precision import InstancePrecision, average_precision, masks_of
from lift3d.metrics.panoptic import panoptic_quality
from lift3d.results.cloud import cells_at, is_step, points_in_views, surface_of, whole_grid
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.masks.scene_masks import MOST_POINTS, masks_at_points, merged_on, point_graph
from lift3d.results.masks.view_masks import LabelMaps, label_maps_of
from lift3d.surface.cloud import SurfacePoints, surface_points
from lift3d.surface.masks.claims import UNCLAIMED, ViewMasks
from lift3d.surface.masks.graph import PointGraph, segmented
from lift3d.surface.masks.merge import NO_MASK, pieces_of
from lift3d.surface.scene_surface import SceneSurface
from lift3d.synthetic.reader import SCHEME

SCENES = ("procedural:room?seed=9000&views=24", "procedural:room?seed=9001&views=24")
OPERATORS = ("tiny:encoder",)
# Of captures, and of computed rooms, whose textures have nothing finer to show.
IMAGE_HEIGHT, COMPUTED_HEIGHT = 240, 144
NO_INSTANCES = ("wall", "floor", "ceiling", "background")
# The floor's scale is the best of these for rooms of the seeds 1 to 4; the best of them on each scene stands beside it.
SCALE, SCALES, SMALLEST = 3.0, (1.0, 2.0, 3.0, 5.0), 30
# An outline's pixel votes so much for what a point is.
_OUTLINE = 0.05
# A mask of the next view is one that there is if so much of what it shares with masks is that one's.
_SAME = 0.5

Ids = Int[ndarray, " point"]


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """Masks of points, how sure each is, and PQ, where they are of one id per point."""

    masks: Sequence[Bool[ndarray, " point"]]
    confidence: Sequence[float]
    pq: float | None

    @classmethod
    def of(cls, ids: Ids, true: Ids, confidence: Sequence[float] | None = None) -> "_Answer":
        """Take masks from ids; as sure as they are large, if nobody says."""
        masks, known = masks_of(ids), true >= 0
        # As in panoptic segmentation, what lies on nothing annotated for the most part is not wrong.
        is_judged = np.array([*(2 * int((one & known).sum()) >= int(one.sum()) for one in masks), False])
        judged = np.where(is_judged[ids], ids, NO_MASK)
        quality = panoptic_quality(torch.from_numpy(judged[known]), torch.from_numpy(true[known]))
        return cls(masks, [float(one.sum()) for one in masks] if confidence is None else confidence, quality)

    def figures(self, true: Ids) -> tuple[dict[str, float], InstancePrecision]:
        """Return figures by the name of the metric."""
        found = average_precision(self.masks, self.confidence, true)
        figures = {"AP": found.ap, "AP50": found.ap50, "AP25": found.ap25}
        return figures | ({} if self.pq is None else {"PQ": self.pq}), found


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """A lifted scene, its surface as points, and what is true of them."""

    lifted: LiftedScene
    surface: SceneSurface
    points: SurfacePoints
    graph: PointGraph
    true: Ids

    @classmethod
    def of(cls, lifted: LiftedScene) -> "_Stage":
        """Read surface and truth."""
        surface = surface_of(lifted)
        points = surface_points(surface, MOST_POINTS)
        return cls(lifted, surface, points, point_graph(lifted, surface, points), instances_at(lifted, surface, points))

    def said(self, maps_of: Callable[[ViewId], LabelMaps]) -> Iterator[ViewMasks]:
        """Yield what views say of the points."""
        return masks_at_points(self.lifted, self.surface, self.points, maps_of)

    def merged(self, maps_of: Callable[[ViewId], LabelMaps]) -> _Answer:
        """Return masks as ``lift3d masks`` gives them."""
        found = merged_on(self.lifted, self.surface, self.points, maps_of)
        return _Answer.of(found.ids.numpy(), self.true, found.confidence.tolist())


def measure(asked: Asked) -> list[SystemRow]:
    """Return four rows per operator; SceneError if the scene has no instances and no labels."""
    rows = []
    for operator in asked.operators or OPERATORS:
        lifted = lift3d.lift(
            asked.scene,
            operator,
            store=asked.store,
            image_height=COMPUTED_HEIGHT if asked.scene.startswith(SCHEME) else IMAGE_HEIGHT,
            plugins=asked.plugins,
            metrics=("coverage",),
        )
        rows += _rows(_Stage.of(lifted))
    return rows


def _rows(stage: _Stage) -> list[SystemRow]:
    maps_of = label_maps_of(stage.lifted)
    true = stage.true
    ours, counts = stage.merged(maps_of).figures(true)
    views = [*stage.said(maps_of)]
    by_scale = {scale: _Answer.of(segmented(stage.graph, scale, SMALLEST), true).figures(true)[0] for scale in SCALES}
    floors = {
        "Felzenszwalb": by_scale[SCALE],
        "single views": _single_views(views, len(true)).figures(true)[0],
        "view by view": _Answer.of(_view_by_view(views, len(true)), true).figures(true)[0],
    }
    ceilings = {
        "true 2D masks": stage.merged(partial(_true_map, stage.lifted)).figures(true)[0],
        "true pieces": _Answer.of(_majority(pieces_of(stage.graph), true), true).figures(true)[0],
    }
    kind, colon, argument = stage.lifted.operator.split("?")[0].partition(":")
    scene = f"{stage.lifted.name}, {kind}{colon}{argument.rpartition('/')[-1]}"
    rows = []
    for metric, figure in ours.items():
        rows.append(
            SystemRow(
                "masks",
                scene,
                metric,
                True,
                figure,
                {name: one[metric] for name, one in floors.items() if metric in one},
                {name: one[metric] for name, one in ceilings.items()},
                {
                    "Felzenszwalb at its best scale here": max(one[metric] for one in by_scale.values()),
                    "instances": counts.instances,
                    "masks": counts.predictions,
                },
            )
        )
    return rows


def _single_views(views: Sequence[ViewMasks], count: int) -> _Answer:
    """Return every 2D mask of every view, of its middle level, as a mask of the points that the view sees."""
    masks = []
    for view in views:
        labels = _middle(view)
        for number in np.unique(labels[labels != UNCLAIMED]):
            mask = np.zeros(count, dtype=bool)
            mask[view.point[labels == number]] = True
            masks.append(mask)
    return _Answer(masks, [float(one.sum()) for one in masks], None)


def _view_by_view(views: Sequence[ViewMasks], count: int) -> Ids:
    """Return ids that grow from view to view: a mask is that with which it shares most so far, or a new one."""
    ids, fresh = np.full(count, NO_MASK), 0
    for view in views:
        labels = _middle(view)
        for number in np.unique(labels[labels != UNCLAIMED]):
            own = view.point[labels == number]
            before = Counter(ids[own][ids[own] != NO_MASK].tolist())
            best, shared = before.most_common(1)[0] if before else (NO_MASK, 0)
            is_known = shared > _SAME * before.total() and shared > 0
            ids[own[ids[own] == NO_MASK]] = best if is_known else fresh
            fresh += not is_known
    return ids


def _middle(view: ViewMasks) -> Int[ndarray, " seen"]:
    return view.layers[len(view.layers) // 2]


def _majority(piece: Ids, true: Ids) -> Ids:
    """Return for each point the instance that most points of its piece are of, numbered from 0."""
    votes = np.zeros((int(piece.max()) + 1, int(true.max()) + 2))
    np.add.at(votes, (piece, true + 1), 1)
    chosen = votes.argmax(1)[piece] - 1
    _, number = np.unique(chosen, return_inverse=True)
    return np.where(chosen < 0, NO_MASK, number.reshape(-1) - int((chosen < 0).any()))


def _true_map(lifted: LiftedScene, view: ViewId) -> LabelMaps:
    """Return the annotation of a view, walls and all."""
    found = annotation(lifted.scene.view(view).load(lifted.recipe.image_height))
    return () if found is None else (found.numpy(),)


def annotation(frame: Frame) -> torch.Tensor | None:
    """Return the instances of a view, or its classes where there are none; None where there is neither."""
    return frame.labels if frame.instances is None else frame.instances


def instances_at(lifted: LiftedScene, surface: SceneSurface, points: SurfacePoints) -> Ids:
    """Return the instance of each point by the votes of views, as well as they see it; UNKNOWN_LABEL for none."""
    names = lifted.scene.label_names
    left_out = torch.tensor([number for number, name in names.items() if name in NO_INSTANCES], dtype=torch.long)
    votes: dict[int, torch.Tensor] = {}
    for view, seen in zip(lifted.compared, points_in_views(lifted, surface, points, lifted.compared), strict=True):
        frame = lifted.scene.view(view).load(lifted.recipe.image_height)
        found = annotation(frame)
        if found is None:
            continue
        cell = cells_at(whole_grid(seen.camera.size, *found.shape), seen.uv.nan_to_num(0.0))
        is_end = is_step(seen.depth, seen.uv, surface.tolerance)
        weight = seen.quality * torch.where(is_end, _OUTLINE, 1.0) * frame.is_valid.flatten()[cell]
        is_none = torch.zeros_like(found, dtype=torch.bool)
        if frame.labels is not None:
            is_none = torch.isin(frame.labels, left_out)
        at_points = torch.where(is_none, UNKNOWN_LABEL, found).flatten()[cell]
        # What is known to be none votes, too; what is unknown does not.
        weight = weight * (found.flatten()[cell] != UNKNOWN_LABEL)
        for number in torch.unique(at_points).tolist():
            own = weight * (at_points == number)
            votes[number] = votes[number] + own if number in votes else own
    if not votes:
        raise SceneError(f"No view of '{lifted.name}' has instances or labels to be judged by.", scene=lifted.name)
    ids = sorted(votes)
    counted = torch.stack([votes[number] for number in ids], dim=1)
    best = torch.tensor(ids)[counted.argmax(1)]
    return np.asarray(torch.where(counted.sum(1) > 0, best, UNKNOWN_LABEL).numpy())
