"""Words and clicks, asked of the points of scenes whose every thing has a name: are the right places found?"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.ndimage import distance_transform_edt

from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.config import Execution, parse_recipe
from lift3d.domain.features import FeatureMap
from lift3d.domain.lifted import LiftedView
from lift3d.domain.scene import Frame
from lift3d.errors import SceneError
from lift3d.geometry.rays import cell_centers
from lift3d.operators.open_vocabulary import EVEN
from lift3d.results.cloud import cells_at, map_under, whole_grid
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.masks.scene_masks import scene_masks
from lift3d.results.opened import open_lifted
from lift3d.results.query.ask import SceneQuery, ask_all
from lift3d.results.query.likeness import Neighbours, edge_threshold, relevance
from lift3d.results.query.words import embedded, text_encoder
from lift3d.runs.driver import run_serially
from lift3d.scenes.catalog import read_scene
from lift3d.synthetic.objects import COLORS, EVALUATION_SEEDS, SHAPES

SCENES = tuple(f"procedural:objects?seed={seed}&views=25" for seed in EVALUATION_SEEDS)
OPERATOR, IMAGE_HEIGHT = "tiny:clip", 120
_THINGS = frozenset(f"{color} {shape}" for color in COLORS for shape in SHAPES)
# A thing that is smaller in a view, or on the points, is not asked for there.
_FEWEST_CELLS, _FEWEST_POINTS = 4, 30
# Thresholds that the best is looked for among.
_TRIED = 101
# Loading and warming up are not a query.
_TIMED = 5


@dataclass(slots=True)
class _Scores:
    """Figures of one way to answer, over things and views."""

    located: list[float] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)

    def add(self, likeness: Float[ndarray, "row col"], found: Bool[ndarray, "row col"], true: ndarray) -> None:
        """Take the answer of a view."""
        self.located.append(float(true.flat[np.nan_to_num(likeness, nan=-np.inf).argmax()]))
        self.iou.append(_iou(found, true))

    def means(self) -> tuple[float, float]:
        """Return the share of peaks on the thing, and the mean IoU."""
        return float(np.mean(self.located)), float(np.mean(self.iou))


def measure(asked: Asked) -> list[SystemRow]:
    """Lift a scene by a model that reads texts, and ask for each of its things by name and by click."""
    operators = asked.operators or (OPERATOR,)
    recipe = parse_recipe(
        {
            "scenes": (asked.scene,),
            "operators": operators,
            "plugins": asked.plugins,
            "image_height": IMAGE_HEIGHT,
            "metrics": ("coverage",),
        }
    )
    (record,) = run_serially(recipe, Execution(store=asked.store))
    if not record.is_ok:
        raise SceneError(f"'{asked.scene}' could not be run: {record.reason}", scene=asked.scene)
    lifted = open_lifted(asked.store, operator=operators[0], run_id=recipe.run_id, captures=True)
    return _measured(lifted, asked.scene)


def _measured(lifted: LiftedScene, location: str) -> list[SystemRow]:
    scene = read_scene(location)
    frames = {target: scene.view(target).load(IMAGE_HEIGHT) for target in lifted.targets}
    query = lifted.ask()
    labels, instances = (_on_points(query, frames, name) for name in ("labels", "instances"))
    things = {
        name: number
        for number, name in scene.label_names.items()
        if name in _THINGS and (labels == number).sum() >= _FEWEST_POINTS
    }
    on_masks, encoder = query.on(instances), text_encoder(lifted.operator)
    ways = {name: _Scores() for name in ("points", "true masks", "per view", "per view, even")}
    best: list[float] = []
    for name, number in things.items():
        found, texts = query.words(name), embedded(encoder, name)
        seen = []
        for view in lifted.views():
            true = _at_cells(frames[view.target], view.lifted[0].features, number)
            if true.sum() >= _FEWEST_CELLS:
                seen.append((found.seen_from(view), true))
                ways["points"].add(seen[-1][0], seen[-1][0] > found.threshold, true)
                on_mask = on_masks.words(name)
                ways["true masks"].add(on_mask.seen_from(view), on_mask.seen_from(view) > on_mask.threshold, true)
                for way, rule in (("per view", edge_threshold), ("per view, even", None)):
                    likeness, threshold = _in_view(lifted.plain(view.target) or view, texts, rule)
                    ways[way].add(likeness, likeness > threshold, true)
        best += _at_best_threshold(seen)
    figures = {way: scores.means() for way, scores in ways.items()}
    details = {
        "things": float(len(things)),
        "mIoU on points": float(np.mean([_iou(query.words(one).selected, labels == at) for one, at in things.items()])),
        "all words at once": _all_together(query, things, labels),
        "on its own masks": _on_own_masks(query, things, labels),
        "on true masks": figures["true masks"][1],
        "one click": _clicked(query, frames, things, labels),
        "seconds a query": _seconds(query, [*things]),
    }
    floors = [{way: figures[way][place] for way in ("per view", "per view, even")} for place in range(2)]
    located, iou = figures["points"]
    ceiling = {"threshold by labels": float(np.mean(best))}
    return [
        SystemRow("queries", scene.id, "localisation by words", True, located, floors[0], {"all": 1.0}),
        SystemRow("queries", scene.id, "mIoU by words", True, iou, floors[1], ceiling, details),
    ]


def _at_best_threshold(
    seen: Sequence[tuple[Float[ndarray, "row col"], Bool[ndarray, "row col"]]],
) -> list[float]:
    """Return the IoU of each view at the one threshold for which they are largest on the mean."""
    tried = [[_iou(likeness > at, true) for likeness, true in seen] for at in np.linspace(0, 1, _TRIED)]
    return max(tried, key=lambda own: float(np.mean(own))) if seen else []


def _on_own_masks(query: SceneQuery, things: dict[str, int], labels: Int[ndarray, " point"]) -> float:
    """Return the mean IoU on points where words are asked of the masks that the same features make."""
    on_masks = query.on(scene_masks(query.lifted))
    return float(np.mean([_iou(on_masks.words(one).selected, labels == at) for one, at in things.items()]))


def _clicked(
    query: SceneQuery, frames: dict[str, Frame], things: dict[str, int], labels: Int[ndarray, " point"]
) -> float:
    """Return the mean IoU on points of one click on each thing."""
    found = {number: query.click(*_middle(frames, number)).selected for number in things.values()}
    return float(np.mean([_iou(selected, labels == number) for number, selected in found.items()]))


def _all_together(query: SceneQuery, things: dict[str, int], labels: Int[ndarray, " point"]) -> float:
    """Return the mean IoU on points where all things are asked for, and each point is the most relevant of them."""
    number = ask_all(query, [*things])
    return float(np.mean([_iou(number == place, labels == one) for place, one in enumerate(things.values())]))


def _on_points(query: SceneQuery, frames: dict[str, Frame], name: str) -> Int[ndarray, " point"]:
    """Return the truth of each point: that of the pixel that it is read from."""
    true = np.full(len(query.cloud), -1)
    for number, target in enumerate(query.lifted.targets):
        own = query.cloud.view == number
        values = getattr(frames[target], name)
        true[own.numpy()] = map_under(values.numpy(), frames[target].camera, [], query.cloud.uv[own])
    return true


def _at_cells(frame: Frame, features: FeatureMap, number: int) -> Bool[ndarray, "row col"]:
    """Return which cells of a map show a thing, at their middles."""
    grid, true = features.grid, _is_shown(frame, number)
    pixels = cells_at(whole_grid(frame.camera.size, *true.shape), cell_centers(*grid.lattice).double())
    own: Bool[ndarray, "row col"] = true.flatten()[pixels.numpy()].reshape(grid.shape)
    return own


def _is_shown(frame: Frame, number: int) -> Bool[ndarray, "height width"]:
    """Return which pixels show a thing; none of a frame without labels."""
    if frame.labels is None:
        raise SceneError("Queries are judged by the labels of computed scenes; this one has none.")
    shown: Bool[ndarray, "height width"] = frame.labels.numpy() == number
    return shown


def _middle(frames: dict[str, Frame], number: int) -> tuple[str, float, float]:
    """Return the view that shows most of a thing, and the pixel there that is farthest from its outline."""
    target = max(frames, key=lambda one: int(_is_shown(frames[one], number).sum()))
    inside = distance_transform_edt(np.pad(_is_shown(frames[target], number), 1))[1:-1, 1:-1]
    row, col = np.unravel_index(inside.argmax(), inside.shape)
    return target, float(col) + 0.5, float(row) + 0.5


def _in_view(
    plain: LiftedView, texts: torch.Tensor, rule: Callable[..., float] | None
) -> tuple[Float[ndarray, "row col"], float]:
    """Return the relevancy of each cell of the plain 2D answer, and its threshold, as on points."""
    features = plain.lifted[0].features
    unit = torch.nn.functional.normalize(features.values.flatten(1).T.float(), dim=1).half()
    places = cell_centers(*features.grid.lattice).reshape(-1, 2).numpy()
    neighbours = Neighbours.of(np.pad(places, ((0, 0), (0, 1))), unit)
    likeness = neighbours.smoothed(relevance(unit, texts).numpy())
    threshold = EVEN if rule is None else rule(likeness, neighbours, EVEN)
    return likeness.reshape(features.grid.shape), threshold


def _seconds(query: SceneQuery, names: list[str]) -> float:
    """Return the longest of a few queries, text and all, of a scene that is held."""
    query.words(names[0])

    def timed() -> Iterator[float]:
        for name in (names * _TIMED)[:_TIMED]:
            began = time.perf_counter()
            query.words(name)
            yield time.perf_counter() - began

    return max(timed())


def _iou(found: Bool[ndarray, "*place"], true: Bool[ndarray, "*place"]) -> float:
    union = (found | true).sum()
    return float((found & true).sum() / union) if union else float("nan")
