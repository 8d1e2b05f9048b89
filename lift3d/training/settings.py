"""What a training run is: everything that changes its result, and where it runs. Light: no torch."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lift3d.errors import ConfigError

_SUFFIX = ".safetensors"
# Where a run reads and writes, and how many hands prepare its examples, changes no weight.
_WITHOUT_EFFECT = frozenset({"out", "folder", "workers"})


class TrainingSettings(BaseModel):
    """Settings of ``lift3d train``.

    Attributes:
        out: Checkpoint to write; its card stands beside it.
        folder: Scenes and states of the run; a run is resumed from here.
        seed: Of scenes, feature spaces and networks.
        scenes: Rendered scenes; each gives many examples.
        validation_scenes: Scenes that are never trained on.
        density_steps: Examples per process that stage I is trained on.
        corrector_steps: Examples per process that stage II is trained on.
        density_rate: Learning rate of stage I.
        corrector_rate: Learning rate of stage II.
        processes: Processes that train together: a step learns from one example of each.
        workers: Processes that prepare examples for each of them; 0 prepares in the process that trains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path
    folder: Path = Path("runs/training")
    seed: int = Field(default=1, ge=0)
    scenes: int = Field(default=400, ge=1)
    validation_scenes: int = Field(default=24, ge=1)
    density_steps: int = Field(default=3000, ge=0)
    corrector_steps: int = Field(default=2000, ge=0)
    density_rate: float = Field(default=3e-3, gt=0)
    corrector_rate: float = Field(default=2e-3, gt=0)
    processes: int = Field(default=1, ge=1)
    workers: int = Field(default=1, ge=0)

    @field_validator("out")
    @classmethod
    def _is_a_checkpoint(cls, out: Path) -> Path:
        if out.suffix != _SUFFIX:
            raise ValueError(f"a checkpoint is a {_SUFFIX} file")
        return out

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes the result."""
        return self.model_dump(mode="json", exclude=set(_WITHOUT_EFFECT))

    @property
    def command(self) -> str:
        """The command that repeats the run, whatever defaults become; the name of the file without its folder."""
        options = {"out": self.out.name, **self.identity}
        return " ".join(["lift3d train", *(f"--{name.replace('_', '-')} {value}" for name, value in options.items())])

    def anchored(self) -> "TrainingSettings":
        """Return the same with absolute paths, for processes that run in folders of their own."""
        return self.model_copy(update={"out": self.out.absolute(), "folder": self.folder.absolute()})


def parse_settings(fields: dict[str, Any]) -> TrainingSettings:
    """Return the settings of a mapping (of a YAML file, the command line, or Prefect).

    Raises:
        ConfigError: Naming every field that is wrong, what it was, and what is expected.
    """
    try:
        return TrainingSettings.model_validate(fields)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, entry['loc']))}: {entry['msg']} (got {entry['input']!r})" for entry in error.errors()
        ]
        known = ", ".join(TrainingSettings.model_fields)
        raise ConfigError(f"Invalid training settings: {'; '.join(lines)}. Fields: {known}.") from error
