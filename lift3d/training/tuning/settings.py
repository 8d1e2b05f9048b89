"""What a tuning of an encoder is: everything that changes its result, and where it runs. Light: no torch."""

import os
import re
from pathlib import Path, PurePath
from typing import Any

from pydantic import Field, field_validator

from lift3d.config import Settings, parsed
from lift3d.training.settings import (
    Identity,
    absolute_location,
    absolute_plugin,
    checkpoint_file,
    command_line,
    location_name,
    named_once,
    operator_label,
)

_FAMILIES = ("room", "tabletop", "shelf", "street", "forest", "objects")
# Apart from the seeds of demonstrations and of evaluation.
_SEEDS = (1001, 1002)
# What is tuned on where no scene is named.
COMPUTED = tuple(
    f"procedural:{family}?seed={seed}&views=14&height=192&width=256&spacing=2"
    for seed in _SEEDS
    for family in _FAMILIES
)
# In an operator's name; hub and random are no files.
_WEIGHTS = re.compile(r"(?<=weights=)(?!hub\b|random\b)[^&]+")
# Where a tuning reads and writes changes no weight.
_WITHOUT_EFFECT = frozenset({"out", "folder", "store"})


class TuningSettings(Settings):
    """Settings of ``lift3d finetune``."""

    operator: str
    """2D model to tune, timm:NAME: a plain vision transformer."""
    scenes: tuple[str, ...] = ()
    """Locations of posed scenes to tune on, as of lift3d run; computed ones if none are named."""
    out: Path
    """Weights to write, a .safetensors file that timm loads; its card stands beside it."""
    folder: Path = Path("runs/finetune")
    """What enters the tuned blocks, and the state of the run; a run is resumed from here."""
    store: str | None = None
    """Store with features and surfaces of these scenes, such as that of a run at the same height; in the folder if not
    given. What it lacks is computed and kept there."""
    plugins: tuple[str, ...] = ()
    """module:attribute or file.py:attribute that gives the operator, if timm:NAME does not."""
    image_height: int = Field(default=192, ge=16, le=8192)
    """Height in pixels at which views are encoded and lifted."""
    geometry: str | None = None
    """Where the scenes' surfaces come from, as of lift3d run; none means the best that each has."""
    blocks: int = Field(default=1, ge=1)
    """Last blocks that are tuned, and the norm after them; all others stay."""
    steps: int = Field(default=400, ge=1)
    """Steps per process."""
    batch: int = Field(default=4, ge=1)
    """Views per step and process."""
    rate: float = Field(default=1e-4, gt=0)
    """Learning rate."""
    contrast: float = Field(default=0.1, ge=0)
    """Weight of telling each cell's lifted features from those of the view's other cells; without it features agree by
    growing alike."""
    temperature: float = Field(default=0.05, gt=0)
    """Of the contrast: how much nearer than others is near enough."""
    length: float = Field(default=0.0, ge=0)
    """Weight of the distance (smooth L1, in spreads of each channel) beside that of the direction."""
    stay: float = Field(default=0.0, ge=0)
    """Weight of staying near the direction of the features before tuning."""
    holdout: int = Field(default=8, ge=2)
    """Every N-th view is not tuned on and tells how it goes."""
    seed: int = Field(default=1, ge=0)
    """Of the order of views."""
    processes: int = Field(default=1, ge=1)
    """Processes that tune together: a step learns from the views of each."""

    _is_a_checkpoint = field_validator("out")(checkpoint_file)
    _are_unique = field_validator("scenes")(named_once)

    @property
    def locations(self) -> tuple[str, ...]:
        """Scenes that are tuned on."""
        return self.scenes or COMPUTED

    @property
    def identity(self) -> Identity:
        """Everything that changes the result, without a path of this machine: files are called by their names."""
        fields = self.model_dump(mode="json", exclude=set(_WITHOUT_EFFECT))
        fields["operator"] = operator_label(self.operator)
        fields["plugins"] = [PurePath(location).name for location in self.plugins]
        fields["scenes"] = [location_name(location) for location in self.scenes]
        return {name: value for name, value in fields.items() if value not in (None, [])}

    @property
    def command(self) -> str:
        """The command that repeats the run, whatever defaults become; files are called by their names."""
        named = {"operator", "scenes"}
        options = {name: value for name, value in self.identity.items() if name not in named}
        arguments = (operator_label(self.operator), *map(location_name, self.scenes))
        return command_line("finetune", arguments, {"out": self.out.name, **options})

    def anchored(self) -> "TuningSettings":
        """Return the same with absolute paths, for processes that run in folders of their own."""
        store = self.store
        changes = {
            "operator": _WEIGHTS.sub(lambda found: os.path.abspath(found[0]), self.operator),
            "out": self.out.absolute(),
            "folder": self.folder.absolute(),
            "plugins": tuple(map(absolute_plugin, self.plugins)),
            "scenes": tuple(map(absolute_location, self.scenes)),
            "store": os.path.abspath(store) if store and "://" not in store else store,
        }
        return self.model_copy(update=changes)


def parse_tuning(fields: dict[str, Any]) -> TuningSettings:
    """Return the settings of a mapping (of a YAML file or the command line); ConfigError as of a recipe."""
    return parsed(TuningSettings, "settings of a tuning", fields)
