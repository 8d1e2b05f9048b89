"""The card beside the weights of a small model: what it is, what made it, how well it does and where it fails."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch


def write_card(
    path: Path,
    title: str,
    what: str,
    data: str,
    command: str,
    steps: int,
    seconds: float,
    seed: int,
    figures: Mapping[str, tuple[float, str]],
    limits: Sequence[str],
) -> None:
    """Write a model card as Markdown.

    Args:
        path: The file, ``NAME.md`` beside ``NAME.safetensors``.
        title: The operator's name, e.g. ``tiny:clip``.
        what: What it is, in a sentence or two.
        data: What it was trained on, with seeds and licences.
        command: The exact command that makes these weights.
        steps: Optimiser steps.
        seconds: Time that the training took, without measuring.
        seed: Of the generator of weights and batches.
        figures: Name of each figure, with its value and the plain baseline, in words with its value.
        limits: What it cannot do, one sentence each.
    """
    machine = f"{platform.machine()}, {torch.get_num_threads()} core(s), no GPU; torch {torch.__version__}"
    rows = "\n".join(f"| {name} | **{value:.3f}** | {baseline} |" for name, (value, baseline) in figures.items())
    parts = [
        f"# {title}",
        f"{what} Licence of the weights: Apache-2.0, as the package.",
        f"## Data\n\n{data}",
        f"## Training\n\n{steps:,} steps in {seconds / 60:.1f} minutes on {machine}. Seed {seed}. The command that "
        f"makes it:\n\n```bash\n{command}\n```",
        f"## Figures\n\n| figure | value | plain baseline |\n|---|---|---|\n{rows}",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits),
    ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
