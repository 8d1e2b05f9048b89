"""Where the time of a run goes on one core: seconds, operations and bytes of each stage, beside what the machine does.

Operations are those of matrix products and convolutions, bytes what all tensor operations read and write; what other
libraries do (images, keypoints, stores) is in the seconds alone. Imports and a first, warming walk are not counted.
"""

from collections import Counter
from dataclasses import dataclass

import torch
from rich.filesize import decimal
from torch.utils.flop_counter import FlopCounterMode

from lift3d.bench.gpu import Apart, Touched, in_processes, inputs_of, most_of, stage_of, walk
from lift3d.bench.pages import markdown_table
from lift3d.config import Recipe
from lift3d.pipeline.device import named_device
from lift3d.pipeline.models import Models
from lift3d.pipeline.scene import run_scene


@dataclass(frozen=True, slots=True)
class StageCost:
    """What one stage of a walk takes."""

    stage: str
    seconds: float
    operations: int
    touched_bytes: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One scene walked by one core, by stage, and the most operations and bytes per second of that core."""

    views: int
    seconds: float
    stages: tuple[StageCost, ...]
    most_operations: float
    most_bytes: float


def measure(recipe: Recipe, apart: Apart = in_processes) -> Profile:
    """Walk the first scene of a recipe in fresh processes, for its times and for what is counted."""
    (timed,), (counted,), (most,) = (apart(1, work, recipe, "cpu") for work in (walk, _counted, most_of))
    stages = tuple(StageCost(stage, seconds, *counted.get(stage, (0, 0))) for stage, seconds in timed.stages.items())
    return Profile(timed.views, timed.seconds, stages, *most)


def _counted(recipe: Recipe, device: str) -> dict[str, tuple[int, int]]:
    """Return operations and bytes by stage."""
    operations: Counter[str] = Counter()
    byte_counts: Counter[str] = Counter()
    torch.set_num_threads(1)
    models = Models.of(recipe, named_device(device))
    with FlopCounterMode(display=False) as counter, Touched() as touched:  # type: ignore[no-untyped-call]
        now = "read"

        def at(stage: str, done: int, total: int) -> None:
            nonlocal now
            operations[now] += int(counter.get_total_flops()) - operations.total()
            byte_counts[now] += touched.byte_count - byte_counts.total()
            now = stage_of(stage)

        run_scene(inputs_of(recipe), recipe, models, at)
        at("end", 1, 1)
    return {stage: (operations[stage], byte_counts[stage]) for stage in operations}


def table(found: Profile) -> str:
    """Return the profile as people read it, the dearest stage first."""
    rows = [
        [
            one.stage,
            f"{one.seconds:.2f}",
            f"{one.seconds / found.seconds:.0%}",
            f"{one.operations / 1e9:.2f}",
            f"{one.operations / one.seconds / found.most_operations:.0%}",
            decimal(one.touched_bytes),
            f"{one.touched_bytes / one.seconds / found.most_bytes:.0%}",
        ]
        for one in sorted(found.stages, key=lambda one: -one.seconds)
    ]
    head = ("stage", "s", "share", "10⁹ operations", "of the core's most", "bytes", "of the core's most")
    return (
        f"{found.views} views, {found.seconds:.1f} s on one core: {found.seconds / found.views:.2f} s a view. The core "
        f"does {found.most_operations / 1e9:.0f}·10⁹ operations/s in matrix products and copies "
        f"{decimal(int(found.most_bytes))}/s.\n\n" + markdown_table(head, rows) + "\n"
    )
