"""What a run will do, before it does anything: work per scene, peak memory of a worker, bytes in the store."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from heapq import nlargest
from typing import Any

from rich.filesize import decimal

from lift3d.config import Execution, Recipe, scene_name
from lift3d.domain.scene import View
from lift3d.domain.target import Target
from lift3d.errors import ConfigError, ResourcePromiseError, SceneError
from lift3d.operators.protocol import OperatorSpec
from lift3d.overlap import THREADS
from lift3d.pipeline.features import known_features
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.models import Models
from lift3d.pipeline.targets import choose_targets, scene_targets, views_to_encode
from lift3d.runs.driver import named_scene
from lift3d.runs.node_memory import share_of_node
from lift3d.runs.planned.peak import peak_of, stored_scene_bytes
from lift3d.runs.planned.sizes import ASSUMED_CHANNELS, SceneSize, feature_bytes
from lift3d.runs.records import standing_record
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.file_frame import LARGE_BYTES, FileFrame
from lift3d.scenes.tracks import TRACKED_HEIGHT
from lift3d.storage.commit import committed
from lift3d.storage.layout import STORE_FILE
from lift3d.storage.location import Store, open_store

_DEPTH_BYTES, _LABEL_BYTES = 4, 16  # float32; labels and instances, int64 each


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """What a run will do with one scene, or the reason why it cannot.

    ``encode_count`` are targets and sources without committed features, over operators; bytes are before compression.
    """

    location: str
    scene: str
    reason: str = ""
    is_done: bool = False
    size: SceneSize | None = None
    encode_count: int = 0
    lift_count: int = 0
    peak_bytes: int = 0
    store_bytes: int = 0

    def __str__(self) -> str:
        if self.size is None:
            return f"{self.scene}: cannot be run ({self.reason})"
        if self.is_done:
            return f"{self.scene}: done, nothing to do"
        work = f"encode {self.encode_count}, lift {self.lift_count}; peak {decimal(self.peak_bytes)}"
        return f"{self.scene}: {self.size}; {work}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do; ``bytes_per_view`` are of features, by operator, at the first scene's size."""

    run: str
    store: str
    scenes: tuple[ScenePlan, ...]
    bytes_per_view: dict[str, int]
    allowed_bytes: int
    notes: tuple[str, ...]

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
        lines += [f"  {scene}" for scene in self.scenes]
        lines += [f"  features of one view: {name} {decimal(count)}" for name, count in self.bytes_per_view.items()]
        lines.append(
            f"peak memory of a worker about {decimal(self.peak_bytes)} of {decimal(self.allowed_bytes)} allowed; "
            f"up to {decimal(self.store_bytes)} to store before compression"
        )
        return "\n".join([*lines, *self.notes])


def plan(recipe: Recipe, execution: Execution) -> Plan:
    """Return what a run would do. Builds the models, reads cameras and file digests; decodes and writes nothing.

    UnknownNameError if a catalog does not know a name, ResourcePromiseError if a scene needs more memory than a worker
    may take.
    """
    models = Models.of(recipe)
    store = Store(execution.store)
    store = open_store(execution.store) if store.exists(STORE_FILE) else store
    if execution.ray_address is None:
        share = share_of_node(execution.memory_allowance_bytes, min(execution.workers or 1, len(recipe.scenes)))
        execution = execution.model_copy(update={"memory_allowance_bytes": share})
    scenes = tuple(_plan_scene(location, recipe, models, store, execution) for location in recipe.scenes)
    specs = [operator.spec for operator in models.operators]
    first = next((scene.size.image for scene in scenes if scene.size), None)
    return Plan(
        run=recipe.run_id,
        store=store.url,
        scenes=scenes,
        bytes_per_view={spec.name: feature_bytes(spec, first) for spec in specs} if first else {},
        allowed_bytes=execution.memory_allowance_bytes,
        notes=_notes(specs),
    )


def scene_size(views: Sequence[View], recipe: Recipe) -> SceneSize:
    """Return what the bytes of a scene depend on."""
    return _size_of(views, choose_targets(views, recipe), recipe)


def _size_of(views: Sequence[View], targets: Sequence[Target], recipe: Recipe) -> SceneSize:
    largest = max((target.camera.size for target in targets), key=lambda size: size.height * size.width)
    has_depth = all(view.source.has_depth for view in views)
    has_labels = any(view.source.has_labels for view in views)
    # Tracks look at views that are larger.
    height = max(recipe.image_height, TRACKED_HEIGHT)
    decoded = [(view.source, view.camera.size) for view in views]
    of_files = [(source, size) for source, size in decoded if isinstance(source, FileFrame)]
    files = [source.decode_bytes(size, size.with_height(height)) for source, size in of_files]
    map_bytes = _DEPTH_BYTES * has_depth + _LABEL_BYTES * has_labels
    decoded_at_once = sum(min(one, LARGE_BYTES) if place else one for place, one in enumerate(nlargest(THREADS, files)))
    asks_colmap = not has_depth or any(source.distortion is not None for source, _ in of_files)
    return SceneSize(largest, len(views), len(targets), map_bytes, decoded_at_once, asks_colmap)


def require_room(scene: str, size: SceneSize, recipe: Recipe, models: Models, allowed_bytes: int) -> int:
    """Return the peak memory of a worker with a scene; ResourcePromiseError if it does not fit."""
    specs, judges = ([one.spec for one in some] for some in (models.operators, models.judges))
    peak = peak_of(size, recipe, specs, judges)
    if peak.needed_bytes <= allowed_bytes:
        return peak.needed_bytes
    raise ResourcePromiseError(
        f"Scene '{scene}' needs about {decimal(peak.needed_bytes)} in a worker, most of it for operator "
        f"'{peak.operator}' on {size}; allowed are {decimal(allowed_bytes)}, of which "
        f"{decimal(peak.reserved_bytes)} are reserved for the process and its caches. "
        "Lower --image-height, raise --holdout, use fewer lifters, fewer --workers on a machine, or raise "
        "--memory-allowance-bytes.",
        scene=scene,
        operator=peak.operator,
    )


def _plan_scene(location: str, recipe: Recipe, models: Models, store: Store, execution: Execution) -> ScenePlan:
    """Return what a run would do with one scene."""
    try:
        scene = named_scene(read_scene(location), location, recipe)
        inputs = SceneInputs(scene, store, recipe.image_height)
        views = tuple(inputs.views.values())
        targets = choose_targets(views, recipe)
        if not models.is_anchored and len(targets) < len(views):
            targets = scene_targets(views, recipe, scene.depth_range)  # sources are at work, too: which ones
        size = _size_of(views, targets, recipe)
        is_done = standing_record(store, recipe, location, models.digest_of(inputs, recipe)) is not None
    except (SceneError, ConfigError) as error:
        # A location that cannot be a scene is that scene's fault, as in a run.
        return ScenePlan(location, scene_name(location), reason=f"{error.reason}: {error}")
    if is_done:
        return ScenePlan(location, scene.id, is_done=True, size=size)
    used = views_to_encode(targets, is_anchored=models.is_anchored) & inputs.views.keys()
    is_shared = execution.is_distributed and len(views) > execution.split_views
    keeps = is_shared or (not execution.is_distributed if execution.keep_features is None else execution.keep_features)
    encoded, written = {}, {}
    for operator in (*models.operators, *models.judges):
        leaf = inputs.stored_features(operator, used)
        is_there = committed(store, leaf.path) is not None
        known = {} if is_there else known_features(store, scene.id, operator.spec)
        # What older products of the scene hold is copied, not encoded.
        written[operator.spec.name] = 0 if is_there or not keeps else len(used)
        encoded[operator.spec.name] = 0 if is_there else sum(inputs.digests[view] not in known for view in used)
    return ScenePlan(
        location,
        scene.id,
        size=size,
        encode_count=sum(encoded.values()),
        lift_count=size.target_count * len(models.operators) * len(models.lifters),
        peak_bytes=require_room(scene.id, size, recipe, models, execution.memory_allowance_bytes),
        store_bytes=stored_scene_bytes(
            size,
            recipe,
            [operator.spec for operator in models.operators],
            written,
            [judge.spec for judge in models.judges],
        ),
    )


def _notes(specs: Sequence[OperatorSpec]) -> tuple[str, ...]:
    unknown = ", ".join(spec.name for spec in specs if not spec.channel_count)
    assumed = f"channels assumed to be {ASSUMED_CHANNELS}, not known before the first image: {unknown}"
    return ("weights and activations of 2D models are not counted", *([assumed] if unknown else []))
