"""What to compute (Recipe, hashed) and where and how (Execution, not hashed). Light: no torch."""

from collections import Counter
from functools import cached_property
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lift3d.domain.keys import digest
from lift3d.errors import ConfigError

TargetMode = Literal["refine", "heldout"]
Model = TypeVar("Model", bound=BaseModel)


# With more the lightest ones weigh next to nothing, and memory grows with all of them.
MOST_TAPS = 128


class Recipe(BaseModel):
    """Everything that changes numbers, and nothing else.

    Attributes:
        scenes: Locations of posed scenes.
        operators: 2D models, by catalog name.
        lifters: Rules for weights, by catalog name; raw2d is always in the table beside them.
        metrics: Metric ids; empty means all that apply.
        image_height: Height in pixels at which views are encoded and lifted.
        sources: Source views per target.
        holdout: Every N-th view is a target; None makes every view a target.
        target_mode: refine: the target's own view is one source among the others. heldout: no target is ever a
            source (with holdout) or its own source (without); the only mode for claims.
        targets: Novel cameras instead of the scene's own: a cameras file, or path:COUNT for an interpolated path.
        taps: Source samples per target cell; None means four per source, but no more than 128.
        plugins: module:attribute or file.py:attribute of operators of one's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenes: tuple[str, ...] = Field(min_length=1)
    operators: tuple[str, ...] = Field(default=("rgb",), min_length=1)
    lifters: tuple[str, ...] = Field(default=("lift3d",), min_length=1)
    metrics: tuple[str, ...] = ()
    image_height: int = Field(default=256, ge=16, le=8192)
    sources: int = Field(default=8, ge=1, le=64)
    holdout: int | None = Field(default=None, ge=2)
    target_mode: TargetMode = "refine"
    targets: str | None = None
    taps: int | None = Field(default=None, ge=1, le=1024)
    plugins: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Recipe":
        for field in ("scenes", "operators", "lifters", "metrics"):
            names = getattr(self, field)
            twice = [name for name, times in Counter(names).items() if times > 1]
            if twice:
                raise ValueError(f"{field} names the same thing twice: {', '.join(twice[:5])}")
        return self

    # Both are asked for with every scene of a run that may have many thousands: computed once.
    @cached_property
    def run_id(self) -> str:
        """Digest of everything that changes numbers; the name of the run."""
        return digest(self.model_dump(mode="json"))

    @cached_property
    def shared_names(self) -> frozenset[str]:
        """Names that several scenes of the run have, so that each needs a digest beside it."""
        count = Counter(scene_name(location) for location in self.scenes)
        return frozenset(name for name, times in count.items() if times > 1)

    @property
    def tap_count(self) -> int:
        """Source samples per target cell: a smooth surface needs one per source, an edge two, and as many to spare."""
        return self.taps if self.taps is not None else min(4 * self.sources, MOST_TAPS)

    @property
    def protocol(self) -> str:
        """How targets are chosen, as the rows of the table say it."""
        if self.targets is not None:
            return "novel"
        if self.target_mode == "heldout":
            return f"heldout-{self.holdout}" if self.holdout else "leave-one-out"
        return f"refine-{self.holdout}" if self.holdout else "refine-all"

    @property
    def row_target_mode(self) -> str:
        """Target mode as the rows of the table say it: novel cameras have none of their own."""
        return "novel" if self.targets is not None else self.target_mode


class Execution(BaseModel):
    """Where and how. Never in a digest: it must not change results.

    Attributes:
        store: URL of the store (local path, memory:// or s3://).
        ray_address: Ray cluster to use: http://HOST:8265 submits a job per batch to it, HOST:6379 drives it from
            this process, which must be on one of its machines; None starts one in this process.
        workers: Scene workers at most; None means what the cluster holds.
        cpus_per_worker: CPUs reserved per worker.
        gpus_per_worker: GPUs reserved per worker, fractions allowed.
        threads_per_worker: torch threads per worker; equal in serial and distributed runs.
        batch_size: Scenes per Prefect task.
        split_views: Scenes of more views than this are encoded and lifted by several workers.
        scene_deadline_s: Longest time one scene may take.
        heartbeat_s: Longest time a scene may be silent: no view finished, no answer. Then its worker is replaced.
        lease_s: Workers and jobs that hear nothing from their driver for so long end themselves.
        attempts: Tries of a scene whose worker was lost; then it is quarantined. Memory has two tries, a machine
            that was taken away costs none.
        retry_quarantined: Try quarantined scenes again.
        breaker_failures: So many scenes that fail alike, and at least half of those finished, stop the run.
        memory_allowance_bytes: Largest peak that one worker's plan may have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(min_length=1)
    ray_address: str | None = None
    workers: int | None = Field(default=None, ge=1)
    cpus_per_worker: float = Field(default=1.0, gt=0)
    gpus_per_worker: float = Field(default=0.0, ge=0)
    threads_per_worker: int = Field(default=1, ge=1)
    batch_size: int = Field(default=100, ge=1)
    split_views: int = Field(default=256, ge=2)
    scene_deadline_s: float = Field(default=3600.0, gt=0)
    heartbeat_s: float = Field(default=900.0, gt=0)
    lease_s: float = Field(default=60.0, ge=2)
    attempts: int = Field(default=3, ge=1)
    retry_quarantined: bool = False
    breaker_failures: int = Field(default=20, ge=2)
    memory_allowance_bytes: int = Field(default=8 * 2**30, ge=2**20)


def scene_name(location: str) -> str:
    """Return what a scene is called before it is read: the last part of its location."""
    return location.rstrip("/").rsplit("/", 1)[-1] or location


def parse_recipe(fields: dict[str, Any]) -> Recipe:
    """Return the recipe of a mapping (of a YAML file, the command line, or Prefect).

    Raises:
        ConfigError: Naming every field that is wrong, what it was, and what is expected.
    """
    return _parse(Recipe, fields)


def parse_execution(fields: dict[str, Any]) -> Execution:
    """Return the execution of a mapping.

    Raises:
        ConfigError: Naming every field that is wrong.
    """
    return _parse(Execution, fields)


def _parse(model: type[Model], fields: dict[str, Any]) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, entry['loc'])) or model.__name__}: {_said(entry['msg'])} (got {entry['input']!r})"
            for entry in error.errors()
        ]
        known = ", ".join(model.model_fields)
        raise ConfigError(f"Invalid {model.__name__.lower()}: {'; '.join(lines)}. Fields: {known}.") from error


def _said(message: str) -> str:
    """Call a sequence what YAML and JSON call it."""
    return message.replace("valid tuple", "list").replace("Tuple", "List")
