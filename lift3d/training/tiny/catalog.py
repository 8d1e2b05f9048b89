"""Which small models there are to train. Light: a training is imported when it starts."""

import importlib
from pathlib import Path

from lift3d.errors import UnknownNameError

# Name after ``tiny:`` → function that takes where to write the weights, steps (its own number if None) and a seed.
TRAININGS: dict[str, str] = {
    "encoder": "lift3d.training.tiny.train_encoder:train",
    "clip": "lift3d.training.tiny.train_clip:train",
    "segmenter": "lift3d.training.tiny.train_segmenter:train",
    "superresolution": "lift3d.training.tiny.train_superresolution:train",
    "colorizer": "lift3d.training.tiny.train_colorizer:train",
    "style": "lift3d.training.tiny.train_style:train",
    "depth": "lift3d.training.tiny.train_depth:train",
}


def train_tiny(name: str, out: Path, steps: int | None = None, seed: int = 0) -> None:
    """Train a small model and write its weights, and its card beside them.

    Args:
        name: As after ``tiny:``.
        out: A .safetensors file.
        steps: Optimiser steps; as the packaged weights were trained if None.
        seed: Of weights and batches.

    Raises:
        UnknownNameError: If there is no such small model.
    """
    if name not in TRAININGS:
        raise UnknownNameError.of("small model", name, TRAININGS)
    module, attribute = TRAININGS[name].split(":")
    out.parent.mkdir(parents=True, exist_ok=True)
    getattr(importlib.import_module(module), attribute)(out, steps, seed)
