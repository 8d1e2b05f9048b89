"""Questions of where things are, on computed scenes whose every thing is known exactly: are the answers right?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

import lift3d
from lift3d.bench.systems.masks import annotation, instances_at
from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.bench.systems.true_things import TrueThings
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import SceneError
from lift3d.geometry.sampling import sample
from lift3d.results.cloud import PointsInView, map_under, points_in_views, surface_of
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.masks.naming import IGNORED, Naming, by_words, words_of
from lift3d.results.masks.scene_masks import MOST_POINTS, SceneMasks, scene_masks
from lift3d.results.masks.view_masks import label_maps_of
from lift3d.results.questions.asking import LENGTHS, Question
from lift3d.results.questions.scene_questions import scene_questions
from lift3d.surface.cloud import SurfacePoints, surface_points
from lift3d.surface.masks.merge import NO_MASK
from lift3d.surface.scene_surface import SceneSurface
from lift3d.synthetic.objects import FIRST_EVALUATION_SEED, PAIRS

SCENES = tuple(
    f"procedural:objects?seed={FIRST_EVALUATION_SEED + seed}&views=25{depth}"
    for depth, count in (("", 6), ("&depth=0", 3))
    for seed in range(count)
)
OPERATOR, IMAGE_HEIGHT = "tiny:clip", 180
WORDS = (*(f"{color} {shape}" for color, shape in PAIRS), "table")
# Each view is a floor of its own; neighbours see the same.
_EVERY = 4
UP = (0.0, 0.0, 1.0)
METRICS = {"lengths": "lengths within 10 %", "relations": "relations right"}


def measure(asked: Asked) -> list[SystemRow]:
    """Ask about the things of a scene, once with the names of things given, once with names that words found."""
    operator = (asked.operators or (OPERATOR,))[0]
    lifted = _lifted(asked, asked.scene, operator)
    true = TrueThings.of(lifted.scene)
    found = scene_masks(lifted)
    # Depth that the scene does not give is there for its twin.
    whole = lifted if lifted.scene.has_depth else _lifted(asked, asked.scene.replace("&depth=0", ""), "rgb")
    given = {
        "here": _ask(found, by_hand(found, true)),
        "single views": _ask_views(lifted, true, "hand"),
        "single views, true masks": _ask_views(lifted, true, "true"),
        "true masks, true depth": _ask(*_true_masks(whole, true)),
    }
    by_word = {
        "here": _ask(found, by_words(found, WORDS, IGNORED)),
        "single views": _ask_views(lifted, true, "words"),
        "true masks, true depth": given["true masks, true depth"],
    }
    scene = lifted.scene.id
    rows = [*_rows(scene, "names given", given, true), *_rows(scene, "names by words", by_word, true)]
    # Where all is refused nothing is right or wrong.
    return [one for one in rows if np.isfinite(one.figure)]


def _lifted(asked: Asked, scene: str, operator: str) -> LiftedScene:
    return lift3d.lift(
        scene,
        operator,
        store=asked.store,
        image_height=IMAGE_HEIGHT,
        plugins=asked.plugins,
        metrics=("coverage",),
    )


def _rows(scene: str, label: str, ways: Mapping[str, Sequence[Question]], true: TrueThings) -> Iterator[SystemRow]:
    counts = [one for one in ways["here"] if one.kind == "count"]
    for group, metric in METRICS.items():
        own = {way: [one for one in asked if _group(one) == group] for way, asked in ways.items()}
        figures = {way: _share(asked, true) for way, asked in own.items()}
        floors = {way: one for way, one in figures.items() if way.startswith("single") and np.isfinite(one)}
        ceilings = {way: figure for way, figure in figures.items() if way.startswith("true")}
        details = {
            "asked": float(sum(not one.refused for one in own["here"])),
            "refused": float(sum(bool(one.refused) for one in own["here"])),
            "right if none is refused": _share(own["here"], true, all_of_them=True),
            "single views, none refused": _share(own["single views"], true, all_of_them=True),
            "asked of a single view": sum(not one.refused for one in own["single views"]) / _view_count(true),
            "counts right": _share(counts, true),
        }
        yield SystemRow("questions", scene, f"{metric}, {label}", True, figures["here"], floors, ceilings, details)


def _group(question: Question) -> str:
    return "counts" if question.kind == "count" else "lengths" if question.kind in LENGTHS else "relations"


def _share(questions: Sequence[Question], true: TrueThings, *, all_of_them: bool = False) -> float:
    """Return the share that is right of what is asked, or of all that has an answer, refused or not."""
    answered = [one for one in questions if not one.refused or (all_of_them and _has_answer(one))]
    return float(np.mean([true.is_right(one) for one in answered])) if answered else float("nan")


def _has_answer(question: Question) -> bool:
    return question.refused not in ("not-found", "same-name", "unsure-name", "no-view") and bool(
        question.kind not in LENGTHS or np.isfinite(question.value)
    )


def _view_count(true: TrueThings) -> int:
    return len(range(0, len(true.cameras), _EVERY))


def by_hand(masks: SceneMasks, true: TrueThings) -> Naming:
    """Name masks as one who knows the scene would: by the thing that most of a mask's points are of."""
    instances = instances_at(masks.lifted, masks.surface, masks.points)
    return _named_by(masks.ids.numpy(), instances, true)


def _named_by(ids: Int[ndarray, " point"], instances: Int[ndarray, " point"], true: TrueThings) -> Naming:
    names = {}
    for number in range(int(ids.max(initial=-1)) + 1):
        votes = Counter(instances[ids == number].tolist())
        most = votes.most_common(1)[0][0] if votes else NO_MASK
        if most in true.names:
            names[number] = true.names[most]
    return Naming(names, "hand")


def _true_masks(lifted: LiftedScene, true: TrueThings) -> tuple[SceneMasks, Naming]:
    surface = surface_of(lifted)
    points = surface_points(surface, MOST_POINTS)
    ids = instances_at(lifted, surface, points)
    return _as_masks(lifted, surface, points, ids, lifted.compared), _present(true, ids)


def _present(true: TrueThings, ids: Int[ndarray, " point"]) -> Naming:
    return Naming({one: name for one, name in true.names.items() if (ids == one).any()}, "hand")


def _ask(masks: SceneMasks, naming: Naming) -> Sequence[Question]:
    return scene_questions(masks, names=naming, up=UP, metres_per_unit=1.0).questions


def _ask_views(lifted: LiftedScene, true: TrueThings, named: str) -> Sequence[Question]:
    """Ask about each view alone: its own 2D masks, on what it sees at its own depth."""
    surface, maps_of = surface_of(lifted), label_maps_of(lifted)
    found: list[Question] = []
    for seen in surface.views[::_EVERY]:
        own = SceneGeometry(
            surface.method, {seen.id: ViewGeometry(seen.camera, seen.grid, seen.z_depth, seen.confidence)}
        )
        alone = SceneSurface.of(own)
        points = surface_points(alone, MOST_POINTS)
        (at,) = points_in_views(lifted, alone, points, (seen.id,))
        instances = _under(lifted, seen.id, at)
        if named == "true":
            ids, naming = instances, _present(true, instances)
        else:
            maps = maps_of(seen.id)
            ids = map_under(maps[len(maps) // 2], at.camera, (), at.uv)
            naming = _named_by(ids, instances, true) if named == "hand" else _by_own_words(lifted, seen.id, at, ids)
        if naming.names:
            found += _ask(_as_masks(lifted, alone, points, ids, (seen.id,)), naming)
    return found


def _under(lifted: LiftedScene, view: str, at: PointsInView) -> Int[ndarray, " point"]:
    true = annotation(lifted.scene.view(view).load(lifted.recipe.image_height))
    if true is None:
        raise SceneError(f"View '{view}' of '{lifted.name}' has no instances to be judged by.", scene=lifted.name)
    return map_under(true.numpy(), at.camera, (), at.uv.nan_to_num(0.0))


def _by_own_words(lifted: LiftedScene, view: str, at: PointsInView, ids: Int[ndarray, " point"]) -> Naming:
    """Name the masks of one view by its plain 2D features."""
    plain = lifted.plain(view) or lifted.view(view)
    features = plain.lifted[0].features
    unit = torch.nn.functional.normalize(sample(features.values, at.uv.float(), *features.grid.placement).T, dim=1)
    is_known = torch.isfinite(unit).all(1).numpy()
    means = {
        number: unit[torch.from_numpy((ids == number) & is_known)].mean(0)
        for number in np.unique(ids[is_known]).tolist()
    }
    found = words_of(lifted, means, WORDS, IGNORED)
    return Naming({one: name for one, name in found.names.items() if name not in IGNORED}, found.source, found.unsure)


def _as_masks(
    lifted: LiftedScene, surface: SceneSurface, points: SurfacePoints, ids: Int[ndarray, " point"], views: Sequence[str]
) -> SceneMasks:
    count = int(ids.max(initial=-1)) + 1
    seen = torch.zeros(count, len(views), dtype=torch.float64)
    return SceneMasks(
        lifted,
        surface,
        points,
        torch.from_numpy(ids).long(),
        torch.ones(count, dtype=torch.float64),
        seen,
        tuple(views),
    )
