"""What a run will do, before it does anything: work per scene, peak memory of a worker, bytes in the store."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lift3d.config import Execution, Recipe, scene_name
from lift3d.domain.camera import ImageSize
from lift3d.domain.scene import Scene
from lift3d.errors import ConfigError, Lift3dError, ResourcePromiseError, SceneError
from lift3d.operators.protocol import OperatorSpec
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.models import Models
from lift3d.pipeline.targets import choose_targets
from lift3d.pipeline.weigh import wants_guide
from lift3d.runs.driver import named_scene, standing_record
from lift3d.runs.planned_bytes import (
    ASSUMED_CHANNELS,
    Peak,
    SceneSize,
    feature_bytes,
    peak_of,
    stored_scene_bytes,
)
from lift3d.runs.table import scene_record_path
from lift3d.scenes.catalog import read_scene
from lift3d.storage.layout import STORE_FILE
from lift3d.storage.location import Store, open_store

_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))
_DEPTH_BYTES, _LABEL_BYTES = 4, 16  # float32; labels and instances, int64 each


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """What a run will do with one scene.

    Attributes:
        location: As the recipe names it.
        scene: Its name.
        reason: Why it cannot be run; empty if it can.
        is_done: Whether everything wanted is committed.
        view_count: Usable views.
        target_count: Views to lift.
        height: Of the lifted views, pixels.
        width: Of the lifted views, pixels.
        encode_count: Views to encode, summed over operators; committed features are not counted.
        lift_count: Views to lift, summed over operators and lifters.
        peak_bytes: Largest memory of the worker.
        reserved_bytes: The part of it that does not depend on the operator.
        heaviest_operator: Whose views take the most memory.
        store_bytes: What the scene adds to the store, before compression.
    """

    location: str
    scene: str
    reason: str = ""
    is_done: bool = False
    view_count: int = 0
    target_count: int = 0
    height: int = 0
    width: int = 0
    encode_count: int = 0
    lift_count: int = 0
    peak_bytes: int = 0
    reserved_bytes: int = 0
    heaviest_operator: str = ""
    store_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    Attributes:
        run: Id of the run.
        store: Where it goes.
        scenes: In the order of the recipe.
        bytes_per_view: Memory of one view's features, by operator, at the first scene's size.
        allowed_bytes: What a worker may take.
        notes: What was assumed.
        shared: What is computed once for several operators or lifters, one sentence each.
    """

    run: str
    store: str
    scenes: tuple[ScenePlan, ...]
    bytes_per_view: dict[str, int]
    allowed_bytes: int
    notes: tuple[str, ...]
    shared: tuple[str, ...] = ()

    @property
    def peak_bytes(self) -> int:
        """Largest memory of any worker."""
        return max(scene.peak_bytes for scene in self.scenes)

    @property
    def store_bytes(self) -> int:
        """What the run adds to the store, before compression."""
        return sum(scene.store_bytes for scene in self.scenes)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values."""
        totals = {"peak_bytes": self.peak_bytes, "store_bytes": self.store_bytes}
        return {**json.loads(json.dumps(asdict(self))), **totals}

    def to_text(self) -> str:
        """Return the plan for people: one line per scene, then the totals."""
        lines = [f"run {self.run} into {self.store}"]
        lines += [f"  {_sentence(scene)}" for scene in self.scenes]
        lines += [f"  features of one view: {name} {_size(count)}" for name, count in self.bytes_per_view.items()]
        lines += [f"  shared: {sentence}" for sentence in self.shared]
        lines.append(
            f"peak memory of a worker about {_size(self.peak_bytes)} of {_size(self.allowed_bytes)} allowed; "
            f"up to {_size(self.store_bytes)} to store before compression"
        )
        return "\n".join([*lines, *self.notes])


def plan(recipe: Recipe, execution: Execution) -> Plan:
    """Return what a run would do. Builds the models, reads cameras and file digests; decodes and writes nothing.

    Raises:
        UnknownNameError: If a catalog does not know a name.
        ResourcePromiseError: If a scene needs more memory than a worker may take.
    """
    models = Models.of(recipe)
    specs = [operator.spec for operator in models.operators]
    store = _store_as_it_is(execution.store)
    scenes = tuple(plan_scene(location, recipe, models, store) for location in recipe.scenes)
    for scene in scenes:
        require_room(scene, execution.memory_allowance_bytes)
    return Plan(
        run=recipe.run_id,
        store=store.url,
        scenes=scenes,
        bytes_per_view=_bytes_per_view(scenes, specs),
        allowed_bytes=execution.memory_allowance_bytes,
        notes=_notes(specs),
        shared=_shared(models),
    )


def plan_scene(location: str, recipe: Recipe, models: Models, store: Store | None = None) -> ScenePlan:
    """Return what a run would do with one scene.

    Args:
        location: The scene.
        recipe: What to compute.
        models: Those of the recipe.
        store: Where to look for what is committed; None counts everything as work and reads no image file.
    """
    try:
        scene = named_scene(read_scene(location), location, recipe)
    except (SceneError, ConfigError) as error:
        # A location that cannot be a scene is that scene's fault, as in a run.
        return _unusable(location, error)
    try:
        return plan_read_scene(scene, location, recipe, models, store)
    except SceneError as error:
        return _unusable(location, error)


def plan_read_scene(
    scene: Scene, location: str, recipe: Recipe, models: Models, store: Store | None = None
) -> ScenePlan:
    """Return what a run would do with a scene that was read already, see ``plan_scene``.

    Raises:
        SceneError: If none of its views can be a target.
    """
    specs = [operator.spec for operator in models.operators]
    targets = choose_targets(scene.views, recipe)
    largest = max((target.camera.size for target in targets), key=lambda size: size.height * size.width)
    size = SceneSize(largest, len(scene.views), len(targets), _map_bytes(scene))
    missing, is_done = _missing(scene, location, recipe, models, store)
    peak = Peak(0, 0, "") if is_done else peak_of(size, recipe, specs)
    return ScenePlan(
        location=location,
        scene=scene.id,
        is_done=is_done,
        view_count=size.view_count,
        target_count=size.target_count,
        height=largest.height,
        width=largest.width,
        encode_count=sum(missing.values()),
        lift_count=0 if is_done else size.target_count * len(specs) * len(models.lifters),
        peak_bytes=peak.needed_bytes,
        reserved_bytes=peak.reserved_bytes,
        heaviest_operator=peak.operator,
        store_bytes=0 if is_done else stored_scene_bytes(size, recipe, specs, missing),
    )


def require_room(scene: ScenePlan, allowed_bytes: int) -> None:
    """Refuse a scene that does not fit into a worker.

    Raises:
        ResourcePromiseError: Naming the operator, and the bytes needed, allowed and reserved.
    """
    if scene.peak_bytes <= allowed_bytes:
        return
    raise ResourcePromiseError(
        f"Scene '{scene.scene}' needs about {_size(scene.peak_bytes)} in a worker, most of it for operator "
        f"'{scene.heaviest_operator}' on {scene.target_count} targets of {scene.height}x{scene.width}; allowed are "
        f"{_size(allowed_bytes)}, of which {_size(scene.reserved_bytes)} are reserved for the process and its caches. "
        "Lower image_height, raise holdout, use fewer lifters, or raise memory_allowance_bytes.",
        scene=scene.scene,
        operator=scene.heaviest_operator,
    )


def _unusable(location: str, error: Lift3dError) -> ScenePlan:
    return ScenePlan(location, scene_name(location), reason=f"{error.reason}: {error}")


def _store_as_it_is(url: str) -> Store:
    """Return the store without making one: a plan writes nothing."""
    store = Store(url)
    return open_store(url) if store.exists(STORE_FILE) else store


def _missing(
    scene: Scene, location: str, recipe: Recipe, models: Models, store: Store | None
) -> tuple[dict[str, int], bool]:
    """Return how many views each operator has yet to encode, and whether the whole scene is done."""
    if store is None:
        return {operator.spec.name: len(scene.views) for operator in models.operators}, False
    inputs = SceneInputs(scene, store, recipe.image_height)
    if standing_record(store, scene_record_path(recipe, location), models.digest_of(inputs, recipe)) is not None:
        return {operator.spec.name: 0 for operator in models.operators}, True
    missing = {
        operator.spec.name: sum(not inputs.features_committed(operator, view) for view in inputs.views)
        for operator in models.operators
    }
    return missing, False


def _map_bytes(scene: Scene) -> int:
    has_labels = any(view.source.has_labels for view in scene.views)
    return _DEPTH_BYTES * scene.has_depth + _LABEL_BYTES * has_labels


def _bytes_per_view(scenes: Sequence[ScenePlan], specs: Sequence[OperatorSpec]) -> dict[str, int]:
    usable = next((scene for scene in scenes if not scene.reason), None)
    if usable is None:
        return {}
    return {spec.name: feature_bytes(spec, ImageSize(usable.height, usable.width)) for spec in specs}


def _shared(models: Models) -> tuple[str, ...]:
    """Return what several operators or lifters of a run have in common."""
    geometries: dict[tuple[str, str], list[str]] = {}
    for lifter in models.lifters:
        geometries.setdefault(lifter.spec.proposal_key, []).append(lifter.spec.name)
    count = len(models.operators)
    readers = f"{count} operators read it" if count > 1 else "1 operator reads it"
    sentences = [f"one geometry per target for {', '.join(names)}; {readers}" for names in geometries.values()]
    guided = [one for one in models.operators if any(wants_guide(lifter, one) for lifter in models.lifters)]
    if len(guided) > 1:
        sentences.append(f"one lifted picture per target guides {', '.join(one.spec.name for one in guided)}")
    return tuple(sentences)


def _notes(specs: Sequence[OperatorSpec]) -> tuple[str, ...]:
    unknown = [spec.name for spec in specs if not spec.channel_count]
    notes = ["activations of networks and search volumes of lifters are not counted"]
    if unknown:
        notes.append(
            f"channels assumed to be {ASSUMED_CHANNELS}, not known before the first image: {', '.join(unknown)}"
        )
    return tuple(notes)


def _sentence(scene: ScenePlan) -> str:
    if scene.reason:
        return f"{scene.scene}: cannot be run ({scene.reason})"
    if scene.is_done:
        return f"{scene.scene}: done, nothing to do"
    return (
        f"{scene.scene}: {scene.view_count} views and {scene.target_count} targets of {scene.height}x{scene.width}; "
        f"encode {scene.encode_count}, lift {scene.lift_count}; peak {_size(scene.peak_bytes)}"
    )


def _size(byte_count: int) -> str:
    """Return a number of bytes for people."""
    unit, scale = next((unit, scale) for unit, scale in _UNITS if byte_count >= scale or scale == 1)
    return f"{byte_count / scale:.3g} {unit}"
