"""``lift3d train`` and ``finetune``, whose options are the fields of their settings, and ``lift3d train-tiny``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lift3d.cli.commands.options import (
    PATH,
    Exit,
    SettingsCommand,
    given_values,
    importing,
    options_of,
    read_settings,
    say,
)
from lift3d.extras import extra, only_in_checkout

if TYPE_CHECKING:
    from lift3d.cli.train import Drive
    from lift3d.training.settings import TrainingSettings
    from lift3d.training.train import Listener
    from lift3d.training.tuning.settings import TuningSettings


def _fields() -> list[click.Option]:
    from lift3d.training.settings import TrainingSettings

    return options_of(TrainingSettings)


@click.command(cls=SettingsCommand, fields=_fields)
@click.option("--settings", type=PATH, help="YAML of these settings; options beside it win.")
@click.option("--ray-address", help="Ray cluster to use; with several processes one is started here if not given.")
def train(settings: Path | None, ray_address: str | None, **values: Any) -> None:
    """Train the learned lifter, on computed scenes if not told more; the same command goes on where it stopped."""
    from lift3d.training.settings import TrainingSettings, parse_settings

    what = parse_settings({**read_settings(settings), **given_values(values, TrainingSettings)})
    with importing():
        from lift3d.training.train import train as train_here

    _train(what, train_here, ray_address)


def _tuning_fields() -> list[click.Option]:
    from lift3d.training.tuning.settings import TuningSettings

    return options_of(TuningSettings, without=("operator", "scenes"))


@click.command(cls=SettingsCommand, fields=_tuning_fields)
@click.argument("operator", required=False, help="2D model to tune, timm:NAME: a plain vision transformer.")
@click.argument("scenes", nargs=-1, help="As of lift3d run; computed ones if none are named.")
@click.option("--settings", type=PATH, help="YAML of these settings; options beside it win.")
@click.option("--ray-address", help="Ray cluster to use; with several processes one is started here if not given.")
def finetune(settings: Path | None, ray_address: str | None, **values: Any) -> None:
    """Tune an encoder's last blocks until features of one view say what all say; the same command goes on."""
    from lift3d.training.tuning.settings import TuningSettings, parse_tuning

    what = parse_tuning({**read_settings(settings), **given_values(values, TuningSettings)})
    with importing():
        from lift3d.training.tuning.tune import tune as tune_here

    _train(what, tune_here, ray_address)


def _train(what: "TrainingSettings | TuningSettings", here: "Drive", ray_address: str | None) -> None:
    """Train here, or on Ray with several processes, and say how to go on if interrupted."""
    from lift3d.cli import train as train_command

    is_on_ray = what.processes > 1 or ray_address is not None
    try:
        train_command.train_and_present(what, _on_ray(ray_address, here) if is_on_ray else here)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from the last saved step", err=True)
        sys.exit(Exit.INTERRUPTED)


@click.command("train-tiny")
@click.argument("name", help="Of the small model, as after 'tiny:'.")
@click.option("--out", type=PATH, help="Weights to write: a .safetensors file; its card goes beside.")
@click.option("--steps", type=int, help="Optimiser steps; as the packaged weights if not given.")
@click.option("--seed", default=0, help="Of weights and batches.")
def train_tiny(name: str, out: Path | None, steps: int | None, seed: int) -> None:
    """Train one of the small models that come with the package, and measure it against plain baselines."""
    try:
        with importing():
            from lift3d.training.tiny.train import train_tiny
    except ModuleNotFoundError as error:
        raise only_in_checkout("The trainings of the small models", "lift3d/training/tiny") from error
    place = out or Path(f"{name}.safetensors")
    train_tiny(name, place, steps, seed)
    say(f"weights {place}\ncard    {place.with_suffix('.md')}")


def _on_ray(address: str | None, work: "Drive") -> "Drive":
    from lift3d.config import parse_execution

    with extra("train"):
        from flows.training_workers import train_on_ray

    def drive(settings: "TrainingSettings | TuningSettings", listener: "Listener") -> Path:
        place = {"store": str(settings.folder), "ray_address": address, "workers": settings.processes}
        return train_on_ray(settings, parse_execution(place), listener, work)

    return drive
