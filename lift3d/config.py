"""What to compute (Recipe, hashed) and where and how (Execution, not hashed). Light: no torch.

A field is written here and nowhere else: the command line, the form of the Prefect UI and the reference take its name,
type, default, bounds and description from the model.
"""

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lift3d.domain.keys import digest
from lift3d.errors import ConfigError, brief, has_secrets

TargetMode = Literal["refine", "heldout"]
Model = TypeVar("Model", bound="Settings")


# Errors of this type do not show what was given.
_SECRET: Final = "secret"
# With more the lightest ones weigh next to nothing, and memory grows with all of them.
MOST_TAPS = 128


class Settings(BaseModel):
    """Fields that are checked once and then stay; what stands below a field is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _fields_are_known(cls, fields: Any) -> Any:
        unknown = [repr(name) for name in fields if name not in cls.model_fields] if isinstance(fields, dict) else []
        if unknown:
            known = ", ".join(cls.model_fields)
            # Of a type of its own, since pydantic puts "Value error" before any other.
            raise PydanticCustomError("unknown_field", f"there is no {', '.join(unknown)}; fields are {known}")
        return fields

    @field_validator("*")
    @classmethod
    def _hold_no_secrets(cls, value: Any) -> Any:
        if any(isinstance(one, str) and has_secrets(one) for one in (value if isinstance(value, tuple) else (value,))):
            # Fields become records, tables and messages.
            raise PydanticCustomError(_SECRET, "a URL with credentials in it; put them into the environment")
        return value


class Recipe(Settings):
    """Everything that changes numbers, and nothing else."""

    scenes: tuple[str, ...] = Field(min_length=1)
    """Locations of posed scenes; a flow also takes locations of lists of them (.txt, .csv, .jsonl, .parquet)."""
    operators: tuple[str, ...] = Field(default=("rgb", "tiny:encoder"), min_length=1)
    """2D models, by catalog name."""
    lifters: tuple[str, ...] = Field(default=("anchored",), min_length=1)
    """Rules for weights, by catalog name; raw2d is always in the table beside them."""
    metrics: tuple[str, ...] = ()
    """Metric ids; empty means all that apply."""
    image_height: int = Field(default=256, ge=16, le=8192)
    """Height in pixels at which views are encoded and lifted."""
    geometry: str | None = None
    """Where the scene's surface comes from: sensor, colmap, depths, mesh, points, splats, sweep or planar; none means
    the best that a scene has. What is read from a file takes it as mesh?path=FILE: relative in the scene's folder, or
    absolute. A 2D model of depth tells, before planes do, where nothing can be matched: planar?prior=OPERATOR."""
    reliability: tuple[str, ...] = ()
    """2D models, by catalog name, whose features judge what single views show: where those beside contradict it, it is
    no part of the scene (a passer-by, a hand, what was moved), and left out; none means that all views are believed."""
    sources: int = Field(default=8, ge=1, le=64)
    """Source views per target."""
    holdout: int | None = Field(default=None, ge=2)
    """Every N-th view is a target; none makes every view a target."""
    target_mode: TargetMode = "refine"
    """refine: a target's own view is a source, too. heldout (for claims): no target is one; without holdout its own.
    Where nothing is said, a holdout means heldout."""
    targets: str | None = None
    """Novel cameras instead of the scene's own: a cameras file, or path:COUNT for an interpolated path."""
    taps: int | None = Field(default=None, ge=1, le=1024)
    """Source samples per target cell; none means four per source, but no more than 128."""
    plugins: tuple[str, ...] = ()
    """module:attribute or file.py:attribute of operators of one's own."""

    @model_validator(mode="before")
    @classmethod
    def _holdout_is_held_out(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("target_mode") is None:
            return {**fields, "target_mode": "heldout" if fields.get("holdout") is not None else "refine"}
        return fields

    @model_validator(mode="before")
    @classmethod
    def _plugins_are_named(cls, fields: Any) -> Any:
        plugins = fields.get("plugins") if isinstance(fields, dict) else None
        if plugins and isinstance(plugins, list | tuple) and not fields.get("operators"):
            raise ValueError("plugins only make operators known; name in operators which of them to run")
        return fields

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Recipe":
        for field in ("scenes", "operators", "lifters", "metrics", "reliability"):
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


class Execution(Settings):
    """Where and how. Never in a digest: it must not change results."""

    store: str = Field(min_length=1)
    """URL of the store (local path, memory:// or s3://)."""
    ray_address: str | None = None
    """Ray cluster to use, HOST:6379 or auto, driven from one of its machines; none starts one in this process."""
    workers: int | None = Field(default=None, ge=1)
    """Scene workers at most; none means what the cluster holds."""
    cpus_per_worker: float = Field(default=1.0, gt=0)
    """CPUs reserved per worker."""
    gpus_per_worker: float = Field(default=0.0, ge=0)
    """GPUs reserved per worker, fractions allowed."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")
    """Where workers compute: cpu, cuda, cuda:N, or auto, a GPU if a worker has one. Not the last bits depend on it."""
    threads_per_worker: int = Field(default=1, ge=1)
    """torch threads per worker; equal in serial and distributed runs."""
    batch_size: int = Field(default=100, ge=1)
    """Scenes per Prefect task."""
    split_views: int = Field(default=256, ge=2)
    """Scenes of more views than this are encoded and lifted by several workers."""
    scene_deadline_s: float = Field(default=3600.0, gt=0)
    """Longest time in seconds that one scene may take."""
    heartbeat_s: float = Field(default=900.0, gt=0)
    """Longest time in seconds that a scene may be silent: no view finished, no answer. Then its worker is replaced."""
    lease_s: float = Field(default=60.0, ge=2)
    """Workers that hear nothing from their driver for so many seconds end themselves."""
    attempts: int = Field(default=3, ge=1)
    """Tries of a scene whose worker was lost, then quarantine; memory has two, a machine taken away costs none."""
    keep_features: bool | None = None
    """Store what models say of each image, for runs to come; none: in a serial run, not through a flow. What does not
    fit into memory, and what several workers share, is stored in any case."""
    retry_quarantined: bool = False
    """Try quarantined scenes again."""
    breaker_failures: int = Field(default=20, ge=2)
    """So many scenes that fail alike, and at least half of those finished, stop the run."""
    memory_allowance_bytes: int = Field(default=8 * 2**30, ge=2**20)
    """Largest peak of one worker's plan; less where all workers of a machine would not fit into its memory."""

    @property
    def is_distributed(self) -> bool:
        """Whether scenes go to workers of a Ray cluster rather than one after the other through this process."""
        return self.ray_address is not None or self.workers is not None


def scene_name(location: str) -> str:
    """Return what a scene is called before it is read: the last part of its location."""
    return location.rstrip("/").rsplit("/", 1)[-1] or location


def parse_recipe(fields: dict[str, Any]) -> Recipe:
    """Return the recipe of a mapping (of a YAML file, the command line, or the store).

    ConfigError names every field that is wrong, what it was, and what is expected.
    """
    return parsed(Recipe, "recipe", fields)


def parse_execution(fields: dict[str, Any]) -> Execution:
    """Return the execution of a mapping; ConfigError as of ``parse_recipe``."""
    return parsed(Execution, "execution", fields)


def parsed(model: type[Model], name: str, fields: dict[str, Any]) -> Model:
    """Return a model, whose class and name for messages are given, of a mapping.

    ConfigError, in one sentence, names every field that is wrong, what it was, and what is expected.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, entry['loc']))}: {_message(entry['msg'])}{_got(entry)}"
            if entry["loc"]
            else _message(entry["msg"])
            for entry in error.errors()
        ]
        raise ConfigError(f"Invalid {name}: {'; '.join(lines)}.") from error


def _got(entry: Mapping[str, Any]) -> str:
    return "" if entry["type"] in (_SECRET, "missing") else f" (got {brief(entry['input'])})"


def _message(message: str) -> str:
    """Call a sequence what YAML and JSON call it."""
    if message == "Field required":
        return "is needed, and not given"
    return message.removeprefix("Value error, ").replace("valid tuple", "list").replace("Tuple", "List")
