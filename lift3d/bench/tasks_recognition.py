"""``docs/results-recognition.md``: are words and strokes understood at views that are no source of anything?

Two tasks on scenes whose every thing has a name: segmentation by words (``open_vocabulary``), with one prompt per class
of the scene or per thing alone, and by strokes on one view (``strokes``), for each of the largest things of that view.
Both stand on the features of given encoders; those that read no texts are asked for strokes alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lift3d.bench.drawn_strokes import draw_strokes
from lift3d.bench.pages import PairedInterval, paired
from lift3d.config import Execution, Recipe
from lift3d.domain.scene import Frame, Scene
from lift3d.domain.scores import ALL_PIXELS
from lift3d.errors import ConfigError, SceneError
from lift3d.operators.catalog import build_operator
from lift3d.operators.names import OperatorName
from lift3d.operators.open_vocabulary import TextEncoder
from lift3d.runs.driver import run_serially
from lift3d.runs.table import run_table
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.synthetic.objects import COLORS, EVALUATION_SEEDS, SHAPES
from lift3d.tables.schema import ScoreTable

PLAIN, FULL = "raw2d", "anchored"
LIFTERS = ("nearest_view", FULL, "shared_weights", "lift3d")
SCENES = tuple(f"procedural:objects?seed={seed}&views=25" for seed in EVALUATION_SEEDS)
# The encoders were trained on pictures of 96 to 128 rows; every view that is no target is a source.
IMAGE_HEIGHT, SOURCES, HOLDOUT = 120, 20, 6
THINGS = frozenset(f"{color} {shape}" for color in COLORS for shape in SHAPES)
METRICS = (
    "miou",
    "lift3d.metrics.segmentation:object_iou",
    "pixel_accuracy",
    "label_kappa",
)
WORDS, THING_WORDS, STROKES = "words", "words for things", "strokes"
# What each task is judged by, and what it must reach under the default lifter at held-out views.
JUDGED_BY = {WORDS: "miou", THING_WORDS: "miou", STROKES: "object_iou"}
BARS = {WORDS: 0.74, THING_WORDS: 0.6, STROKES: 0.87}
# Strokes are drawn on the largest things of the reference view.
STROKED_THINGS = 3

Values = dict[str, dict[str, dict[str, float]]]  # By metric, lifter, and scene/operator/target.


@dataclass(frozen=True, slots=True)
class SceneSize:
    """A scene that was run, and how many targets it had."""

    scene: str
    targets: int


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """Figures of one task on the features of one encoder.

    Attributes:
        task: WORDS, THING_WORDS or STROKES.
        encoder: Operator name.
        means: By metric and lifter.
        above_plain: By lifter, how far it is from the plain answer at the same views, in the metric of JUDGED_BY.
        by_scene: Means of that metric by scene and lifter.
        bar: What the default lifter must reach.
        is_met: Whether it does.
        is_above_plain: Whether it is better than the plain answer on the mean.
    """

    task: str
    encoder: str
    means: dict[str, dict[str, float]]
    above_plain: dict[str, PairedInterval]
    by_scene: dict[str, dict[str, float]]
    bar: float
    is_met: bool
    is_above_plain: bool


@dataclass(frozen=True, slots=True)
class RecognitionFigures:
    """What ``lift3d bench recognition`` measured, and of what."""

    recipe: Recipe
    scenes: tuple[SceneSize, ...]
    tasks: tuple[TaskFigures, ...]


def measure(recipe: Recipe, store: str, drawings: Path) -> RecognitionFigures:
    """Run the tasks on every scene and return their figures.

    Args:
        recipe: Its operators are the encoders that the tasks stand on; its metrics are not looked at.
        store: URL of the store that holds the runs.
        drawings: Folder for the files of strokes.

    Raises:
        ConfigError: If nothing is held out, or an operator of the recipe is no encoder.
        SceneError: If a scene has no thing that the tasks know a name of, or could not be run.
    """
    if recipe.holdout is None or recipe.target_mode != "heldout":
        raise ConfigError(f"Tasks are judged at views that are held out, got {recipe.protocol}. Give a holdout.")
    values: dict[tuple[str, str], Values] = {}
    scenes = []
    for location in recipe.scenes:
        plan = _plan(location, recipe, drawings)
        one = recipe.model_copy(update={"scenes": (location,), "operators": tuple(plan), "metrics": METRICS})
        record = run_serially(one, Execution(store=store))[0]
        if not record.is_ok:
            raise SceneError(f"'{location}' could not be run: {record.reason}", scene=location)
        table = run_table(open_store(store), one.run_id)
        for operator, task in plan.items():
            _collect(table, operator, values.setdefault(task, {}))
        scenes.append(SceneSize(record.scene, record.target_count))
    tasks = (_task(kind, inner, found, recipe.lifters) for (kind, inner), found in values.items())
    return RecognitionFigures(recipe, tuple(scenes), tuple(tasks))


def _plan(location: str, recipe: Recipe, drawings: Path) -> dict[str, tuple[str, str]]:
    """Return the operators of a scene, with the task and the encoder that each belongs to."""
    scene = read_scene(location)
    frames = {view.id: view.load(recipe.image_height) for view in scene.views}
    # What there is to be seen is given, as in every comparison by words; where it is seen is not.
    numbers = {
        name: number
        for number, name in scene.label_names.items()
        if any(_area(frame, number) for frame in frames.values())
    }
    things = {name: number for name, number in numbers.items() if name in THINGS}
    if not things:
        raise SceneError(f"'{location}' shows no thing that has a name here, e.g. 'red ball'.", scene=location)
    files = _drawn(scene, frames, things, recipe, drawings)
    plan: dict[str, tuple[str, str]] = {}
    for inner in recipe.operators:
        if isinstance(build_operator(inner), TextEncoder):
            for task, names in ((WORDS, numbers), (THING_WORDS, things)):
                options = (("prompts", ",".join(names)), ("of", inner))
                plan[str(OperatorName("open_vocabulary", "", options))] = (task, inner)
        for path in files:
            plan[str(OperatorName("strokes", str(path), (("of", inner),)))] = (STROKES, inner)
    return plan


def _drawn(
    scene: Scene, frames: Mapping[str, Frame], numbers: Mapping[str, int], recipe: Recipe, drawings: Path
) -> list[Path]:
    """Draw on the middle view that is no target, and return a file for each of its largest things."""
    free = [view.id for index, view in enumerate(scene.views) if index % (recipe.holdout or 1)]
    reference = free[len(free) // 2]
    labels = frames[reference].labels
    if labels is None:
        raise SceneError(f"View '{reference}' of scene '{scene.id}' has no labels.", scene=scene.id, view=reference)
    largest = sorted(numbers, key=lambda name: -_area(frames[reference], numbers[name]))[:STROKED_THINGS]
    drawings.mkdir(parents=True, exist_ok=True)
    files = []
    for name in largest:
        path = drawings / f"{scene.id}-{recipe.image_height}-{reference}-{name.replace(' ', '-')}.json"
        path.write_text(draw_strokes(labels, numbers[name], reference, name).model_dump_json(), encoding="utf-8")
        files.append(path)
    return files


def _area(frame: Frame, number: int) -> int:
    return 0 if frame.labels is None else int(torch.count_nonzero(frame.labels == number))


def _collect(table: ScoreTable, operator: str, values: Values) -> None:
    """Add the figures of one operator at all valid pixels."""
    frame = table.frame
    is_own = (frame["operator"] == operator) & frame["protocol"].str.endswith(f"/{ALL_PIXELS}")
    for row in frame[is_own & (frame["outcome"] == "ok")].itertuples():
        key = f"{row.scene}/{operator}/{row.target}"
        values.setdefault(str(row.metric), {}).setdefault(str(row.lifter), {})[key] = float(row.value)


def _task(kind: str, inner: str, values: Values, lifters: Sequence[str]) -> TaskFigures:
    """Return means of a task, and how far each lifter is from the plain answer at the same views."""
    judged = values.get(JUDGED_BY[kind], {})
    plain = judged.get(PLAIN, {})
    differences = {}
    for lifter in lifters:
        own = judged.get(lifter, {})
        shared = sorted(own.keys() & plain.keys())
        if shared:
            differences[lifter] = paired(np.array([own[key] - plain[key] for key in shared]))
    means = {
        metric: {lifter: float(np.mean(list(own.values()))) for lifter, own in by_lifter.items()}
        for metric, by_lifter in values.items()
    }
    reached = means.get(JUDGED_BY[kind], {}).get(FULL)
    return TaskFigures(
        kind,
        inner,
        means,
        differences,
        _by_scene(judged),
        BARS[kind],
        is_met=reached is not None and reached >= BARS[kind],
        is_above_plain=FULL in differences and differences[FULL].mean > 0,
    )


def _by_scene(judged: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return the mean of each lifter in each scene."""
    grouped: dict[str, dict[str, list[float]]] = {}
    for lifter, own in judged.items():
        for key, value in own.items():
            grouped.setdefault(key.split("/")[0], {}).setdefault(lifter, []).append(value)
    return {
        scene: {lifter: float(np.mean(found)) for lifter, found in own.items()}
        for scene, own in sorted(grouped.items())
    }
