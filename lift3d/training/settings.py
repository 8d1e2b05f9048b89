"""What a training run is: everything that changes its result, and where it runs. Light: no torch."""

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

from pydantic import Field, JsonValue, field_validator, model_validator

from lift3d.config import Settings, parsed

# What a training is, as JSON holds it: two of equal identity give equal weights.
Identity = dict[str, JsonValue]

_SUFFIX = ".safetensors"
# Where a run reads and writes, and how many hands prepare its examples, changes no weight.
_WITHOUT_EFFECT = frozenset({"out", "folder", "workers"})
# What means nothing without what it belongs to.
_BELONGS_TO = {"operator_share": "operators", "plugins": "operators", "capture_share": "captures"}
_PROCEDURAL = "procedural:"
# In an operator's name; timm's and open_clip's own slashes stay.
_WEIGHTS_FOLDER = re.compile(r"(?<=weights=)[^&]*/")


def checkpoint_file(out: Path) -> Path:
    """Return the path of a checkpoint; ValueError, for pydantic to tell, if it is none."""
    if out.suffix != _SUFFIX:
        raise ValueError(f"a checkpoint is a {_SUFFIX} file")
    return out


def named_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names; ValueError, for pydantic to tell, if one is there twice."""
    if len(set(names)) != len(names):
        raise ValueError("names the same thing twice")
    return names


class TrainingSettings(Settings):
    """Settings of ``lift3d train``."""

    out: Path
    """Checkpoint to write, a .safetensors file; its card stands beside it."""
    folder: Path = Path("runs/training")
    """Scenes and states of the run, on a disk that all nodes share; a run is resumed from here."""
    seed: int = Field(default=1, ge=0)
    """Of scenes, feature spaces and networks."""
    scenes: int = Field(default=400, ge=1)
    """Rendered scenes; each gives many examples."""
    validation_scenes: int = Field(default=24, ge=1)
    """Scenes that are never trained on."""
    density_steps: int = Field(default=3000, ge=0)
    """Examples per process that stage I is trained on."""
    corrector_steps: int = Field(default=2000, ge=0)
    """Examples per process that stage II is trained on."""
    density_rate: float = Field(default=3e-3, gt=0)
    """Learning rate of stage I."""
    corrector_rate: float = Field(default=2e-3, gt=0)
    """Learning rate of stage II."""
    processes: int = Field(default=1, ge=1)
    """Processes that train together: a step learns from one example of each."""
    workers: int = Field(default=1, ge=0)
    """Processes that prepare examples for each of them; 0 prepares in the process that trains."""
    operators: tuple[str, ...] = ()
    """2D models whose features stage II learns from beside the computed feature spaces."""
    plugins: tuple[str, ...] = ()
    """module:attribute or file.py:attribute of operators of one's own."""
    operator_share: float = Field(default=0.7, gt=0, le=1)
    """Share of stage II's feature spaces that is theirs, if there are any."""
    captures: tuple[str, ...] = ()
    """Locations of posed scenes to train on beside the computed ones."""
    capture_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the examples that is theirs, if there are any."""
    density_from: str | None = None
    """Checkpoint (a packaged name, or a path) whose stage I is taken as it is; density_steps is then 0."""

    @model_validator(mode="before")
    @classmethod
    def _stage_one_is_taken(cls, fields: Any) -> Any:
        """No step of stage I is trained where it is taken from a checkpoint, whatever the default says."""
        is_taken = isinstance(fields, dict) and fields.get("density_from")
        return {**fields, "density_steps": 0} if is_taken else fields

    _is_a_checkpoint = field_validator("out")(checkpoint_file)
    _are_unique = field_validator("operators", "captures")(named_once)

    @property
    def identity(self) -> Identity:
        """Everything that changes the result, without a path of this machine: files are called by their names."""
        fields = self.model_dump(mode="json", exclude=set(_WITHOUT_EFFECT))
        fields["operators"] = [operator_label(name) for name in self.operators]
        fields["plugins"] = [PurePath(location).name for location in self.plugins]
        fields["captures"] = [location_name(location) for location in self.captures]
        fields["density_from"] = PurePath(self.density_from).name if self.density_from else None
        unused = {name for name, owner in _BELONGS_TO.items() if not fields[owner]}
        return {name: value for name, value in fields.items() if name not in unused and value not in (None, [])}

    @property
    def command(self) -> str:
        """The command that repeats the run, whatever defaults become; files are called by their names."""
        return command_line("train", (), {"out": self.out.name, **self.identity})

    def anchored(self) -> "TrainingSettings":
        """Return the same with absolute paths, for processes that run in folders of their own."""
        density_from = self.density_from
        if density_from and density_from.endswith(_SUFFIX):
            density_from = os.path.abspath(density_from)
        changes = {
            "out": self.out.absolute(),
            "folder": self.folder.absolute(),
            "plugins": tuple(absolute_plugin(location) for location in self.plugins),
            "captures": tuple(absolute_location(location) for location in self.captures),
            "density_from": density_from,
        }
        return self.model_copy(update=changes)


def command_line(command: str, arguments: Iterable[str], options: Identity) -> str:
    """Return a command of lift3d; lists are options that are repeated, in the singular."""
    words = ["lift3d", command, *map(shlex.quote, arguments)]
    for name, value in options.items():
        option = "--" + (name.removesuffix("s") if isinstance(value, list) else name).replace("_", "-")
        for one in value if isinstance(value, list) else [value]:
            words += [option, shlex.quote(str(one))]
    return " ".join(words)


def operator_label(name: str) -> str:
    """Return an operator's name without the folder of its weights."""
    return _WEIGHTS_FOLDER.sub("", name)


def location_name(location: str) -> str:
    """Return what a scene is called, without the folders that it lies in."""
    if location.startswith(_PROCEDURAL):
        return location
    return PurePath(os.path.abspath(location.removeprefix("file://"))).name


def absolute_plugin(location: str) -> str:
    """Return a plug-in with the absolute path of its file, if it is one."""
    path, _, attribute = location.rpartition(":")
    return f"{os.path.abspath(os.path.expanduser(path))}:{attribute}" if path.endswith(".py") else location


def absolute_location(location: str) -> str:
    """Return a scene's location with an absolute path, if it is a folder."""
    is_here = not location.startswith((_PROCEDURAL, "file:"))
    return os.path.abspath(os.path.expanduser(location)) if is_here else location


def parse_settings(fields: dict[str, Any]) -> TrainingSettings:
    """Return the settings of a mapping (of a YAML file or the command line); ConfigError as of a recipe."""
    return parsed(TrainingSettings, "training settings", fields)
