"""Trained networks of the learned lifter: one safetensors file with both, and what is needed to build them."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from lift3d.domain.keys import parse_json
from lift3d.errors import ConfigError
from lift3d.lifters.checkpoint_files import checkpoint_digest, checkpoint_path
from lift3d.lifters.networks.corrector import Corrector
from lift3d.lifters.networks.density_proposal import DensityProposal

# Raised when a network's inputs or layers change meaning: older files are then refused.
FORMAT_VERSION = 2
_FORMAT = "lift3d-lifter"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Both networks, stage I and II, in evaluation mode; ``about`` is how they were made: steps, seeds, data."""

    density: DensityProposal
    corrector: Corrector
    about: dict[str, Any]


def untrained() -> Checkpoint:
    """Return what training starts from: the consensus without training, and a residual at one price everywhere."""
    return Checkpoint(DensityProposal().eval(), Corrector().eval(), {})


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, replacing what is there in one step."""
    tensors = {
        f"{name}.{key}": value.detach().contiguous()
        for name, network in (("density", checkpoint.density), ("corrector", checkpoint.corrector))
        for key, value in network.state_dict().items()
    }
    metadata = {
        "format": _FORMAT,
        "version": str(FORMAT_VERSION),
        "about": json.dumps(checkpoint.about, sort_keys=True),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, str(partial), metadata)
    partial.replace(path)


def load_checkpoint(name: str) -> Checkpoint:
    """Load a packaged checkpoint by name, or one of one's own by path; once for the same content.

    ConfigError if there is none, or it is damaged, of another version, or does not fit the networks.
    """
    return _load(checkpoint_path(name), checkpoint_digest(name))


@functools.lru_cache(maxsize=4)
def _load(path: Path, _digest: str) -> Checkpoint:
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            about = parse_json(metadata.get("about", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise ConfigError(
            f"'{path}' is not a readable checkpoint ({error}). Expected safetensors as `lift3d train` writes it."
        ) from error
    got = (metadata.get("format"), metadata.get("version"))
    if got != (_FORMAT, str(FORMAT_VERSION)):
        raise ConfigError(
            f"'{path}' is a checkpoint of format {got[0]!r}, version {got[1]!r}; expected {_FORMAT!r}, version "
            f"'{FORMAT_VERSION}'. Train it anew with this release, or use the release it was made with."
        )
    checkpoint = Checkpoint(DensityProposal(), Corrector(), about)
    for part, network in (("density", checkpoint.density), ("corrector", checkpoint.corrector)):
        _fill(network, {key.removeprefix(f"{part}."): v for key, v in tensors.items() if key.startswith(part)}, path)
    return checkpoint


def _fill(network: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    got = {key: tuple(value.shape) for key, value in tensors.items()}
    if got != expected:
        wrong = sorted(key for key in expected.keys() | got.keys() if expected.get(key) != got.get(key))
        raise ConfigError(
            f"'{path}' does not fit {type(network).__name__}: {', '.join(wrong[:3])} differ in name or shape."
        )
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise ConfigError(f"'{path}' holds NaN or infinite weights: the file is damaged or the training diverged.")
    network.load_state_dict(tensors)
    network.eval().requires_grad_(False)
