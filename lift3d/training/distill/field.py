"""A small network from the geometry of surface points to the features that 2D models gave them, for one scene.

It is too small to remember each point, and is told nothing of where it is: places that look alike in 3D get the mean of
their features, without the noise of single views.

Source:
    Peng et al., OpenScene: 3D Scene Understanding with Open Vocabularies, CVPR 2023, §3.2: distillation by 1 − cos.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lift3d.domain.keys import digest_bytes
from lift3d.errors import NonFiniteError, SceneError
from lift3d.operators.network_weights import seeded
from lift3d.training.loop import SOLO, Schedule, Stage, TrainingState, run_stage

# With fewer points there is nothing to generalise from.
LEAST_POINTS = 64
# Raised when equal settings would give other features: a state of before is then refused.
_VERSION = 1
_WARMUP_STEPS = 60
_SMALLEST = 1e-6

Batch = tuple[Float[Tensor, "sample number"], Float[Tensor, "sample channel"]]


@dataclass(frozen=True, slots=True)
class DistilSettings:
    """How the network learns; ``width`` is that of its only hidden layer, ``batch`` in points."""

    width: int = 256
    steps: int = 600
    batch: int = 2048
    rate: float = 3e-3
    decay: float = 1e-2
    seed: int = 0


def distilled(
    inputs: Float[Tensor, "point number"],
    fused: Float[Tensor, "point channel"],
    settings: DistilSettings,
    folder: Path | None = None,
) -> Float[Tensor, "point channel"]:
    """Train on all points, and return what the network says of them: unit features; the same bits for a seed.

    ``folder`` keeps the state, from which a training that was stopped goes on to the same bits. SceneError if there are
    fewer than 64 points; NonFiniteError if an input or a feature is not a number, or the training diverges.
    """
    if len(inputs) < LEAST_POINTS:
        raise SceneError(
            f"The surface has {len(inputs)} points with features, and a network learns from {LEAST_POINTS} at least. "
            "Use views that overlap more, or more points."
        )
    for what, values in (("inputs", inputs), ("features", fused)):
        if not bool(torch.isfinite(values).all()):
            raise NonFiniteError(f"The {what} of the surface's points must be finite to be learned from.")
    standard = (inputs - inputs.mean(0)) / inputs.std(0).clamp(min=_SMALLEST)
    targets = F.normalize(fused, dim=1)
    with seeded(settings.seed):
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], settings.width), nn.GELU(), nn.Linear(settings.width, fused.shape[1])
        )
    with TemporaryDirectory() as passing:
        _train(network, standard, targets, settings, folder or Path(passing))
    with torch.inference_mode():
        return F.normalize(network(standard), dim=1)


def _train(
    network: nn.Module,
    inputs: Float[Tensor, "point number"],
    targets: Float[Tensor, "point channel"],
    settings: DistilSettings,
    folder: Path,
) -> None:
    """Leave the trained weights in the network."""

    def prepare(number: int) -> Batch:
        drawn = torch.Generator().manual_seed(settings.seed * 1_000_003 + number)
        some = torch.randint(len(inputs), (settings.batch,), generator=drawn)
        return inputs[some], targets[some]

    optimizer = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=settings.decay)
    learned_from = digest_bytes(inputs.numpy().tobytes(), targets.numpy().tobytes())
    identity = {"version": _VERSION, **asdict(settings), "learned_from": learned_from}
    state = TrainingState(network, copy.deepcopy(network), optimizer, identity)
    # Steps are quick: saved a few times only.
    schedule = Schedule(
        settings.steps, settings.rate, _WARMUP_STEPS, replay=0, save_every=max(1, settings.steps // 4),
        validate_every=settings.steps, seed=settings.seed,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    run_stage(
        state,
        Stage(
            schedule, prepare, _loss, prepare, 0, folder / "distilled.pt", workers=0, team=SOLO, log=_quiet,
            on_step=_quiet,
        ),
    )  # fmt: skip
    network.load_state_dict(state.averaged.state_dict())


def _loss(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    inputs, targets = batch
    off = (1 - F.cosine_similarity(network(inputs), targets, dim=1)).mean()
    return off, {"off": float(off.detach())}


def _quiet(_: Mapping[str, float] | int) -> None:
    """Tell nobody."""
