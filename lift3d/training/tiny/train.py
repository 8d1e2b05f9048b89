"""The one loop that every small model is trained by, and the card that is written beside its weights."""

import importlib
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lift3d.errors import UnknownNameError

# Name after ``tiny:`` → function that describes the training of a seed.
TRAININGS: dict[str, str] = {
    "encoder": "lift3d.training.tiny.train_encoder:describe",
    "clip": "lift3d.training.tiny.train_clip:describe",
    "segmenter": "lift3d.training.tiny.train_segmenter:describe",
    "superresolution": "lift3d.training.tiny.train_superresolution:describe",
    "colorizer": "lift3d.training.tiny.train_colorizer:describe",
    "style": "lift3d.training.tiny.train_style:describe",
    "depth": "lift3d.training.tiny.train_depth:describe",
}
_RATE, _WARM_SHARE = 2e-3, 0.03
# Gradients of single batches are at most a few; a rare larger one shall not undo the work of many.
_LARGEST_GRADIENT = 1.0

# Name of each figure, with its value and that of a plain baseline, in words.
Figures = Mapping[str, tuple[float, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """A part of a training.

    Attributes:
        trained: What is trained, in place.
        loss_of: Gives the loss of a step's batch by the number of the step.
        share: Share of the steps.
        begin: What comes before the first step.
    """

    trained: Sequence[nn.Module]
    loss_of: Callable[[int], Tensor]
    share: float = 1.0
    begin: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TinyTraining:
    """How a small model is trained, and what its card says.

    Attributes:
        network: What is kept.
        phases: One after the other.
        steps: As the packaged weights were trained.
        measure: Returns figures of the trained network.
        what: What the model is, in a sentence or two.
        data: What it is trained on, with seeds and licences.
        limits: What it cannot do, one sentence each.
    """

    network: nn.Module
    phases: Sequence[Phase]
    steps: int
    measure: Callable[[], Figures]
    what: str
    data: str
    limits: Sequence[str]


def train_tiny(name: str, out: Path, steps: int | None = None, seed: int = 0) -> None:
    """Train a small model and write its weights, in half precision, and its card beside them.

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
    training: TinyTraining = getattr(importlib.import_module(module), attribute)(seed)
    count = training.steps if steps is None else steps
    started, done, share = time.process_time(), 0, 0.0
    for phase in training.phases:
        share += phase.share
        until = count if share >= 1 else max(1, round(share * count))
        if phase.begin is not None:
            phase.begin()
        descend([one for part in phase.trained for one in part.parameters()], phase.loss_of, until - done)
        done = until
    seconds = time.process_time() - started
    out.parent.mkdir(parents=True, exist_ok=True)
    _save_rounded(training.network, out)
    made = (
        f"{count:,} steps in {seconds / 60:.1f} minutes on {platform.machine()}, {torch.get_num_threads()} core(s), no "
        f"GPU; torch {torch.__version__}. Seed {seed}. The command that makes it:\n\n"
        f"```bash\nlift3d train-tiny {name}\n```"
    )
    out.with_suffix(".md").write_text(_card(name, training, made), encoding="utf-8")


def descend(parameters: Sequence[nn.Parameter], loss_of: Callable[[int], Tensor], step_count: int) -> None:
    """Minimise a loss by Adam with a warm start and a cosine to rest.

    Source:
        Kingma & Ba, Adam, ICLR 2015; Loshchilov & Hutter, SGDR, ICLR 2017 (the cosine).
    """
    optimizer = torch.optim.Adam(parameters, lr=_RATE, betas=(0.9, 0.99))
    warm = max(1, round(_WARM_SHARE * step_count))
    for step in range(step_count):
        share = min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / step_count))
        optimizer.param_groups[0]["lr"] = _RATE * share
        optimizer.zero_grad(set_to_none=True)
        loss_of(step).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, _LARGEST_GRADIENT)
        optimizer.step()


def _save_rounded(network: nn.Module, path: Path) -> None:
    """Round a network's weights to half precision, in place too so that what is measured is what ships; write them."""
    halves = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    network.load_state_dict({name: value.float() for name, value in halves.items()})
    save_file(halves, path)


def _card(name: str, training: TinyTraining, made: str) -> str:
    rows = [f"| {title} | **{value:.3f}** | {baseline} |" for title, (value, baseline) in training.measure().items()]
    table = "\n".join(["| figure | value | plain baseline |", "|---|---|---|", *rows])
    limits = "\n".join(f"- {limit}" for limit in training.limits)
    parts = [
        f"# tiny:{name}",
        f"{training.what} Licence of the weights: Apache-2.0, as the package.",
        f"## Data\n\n{training.data}",
        f"## Training\n\n{made}",
        f"## Figures\n\n{table}",
        f"## Limits\n\n{limits}",
    ]
    return "\n\n".join(parts) + "\n"
