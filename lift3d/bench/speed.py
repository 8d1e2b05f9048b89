"""What lifting one target costs on this machine: stage I, one more operator stage by stage, and memory.

Every figure of time is the median of several turns; a first turn warms up and does not count.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lift3d.bench.speed_memory import MemoryFigures, in_fresh_process
from lift3d.bench.speed_scene import RandomOperator, SpeedScene
from lift3d.domain.proposals import RayProposal
from lift3d.errors import ConfigError
from lift3d.lifters.blend import blend
from lift3d.lifters.catalog import build_lifter
from lift3d.lifters.protocol import Lifter
from lift3d.lifters.weights import TAP_COUNT, weights_at

SCENE = "procedural:room?seed=1&views=24"


@dataclass(frozen=True, slots=True)
class SpeedSize:
    """How much is measured.

    Attributes:
        guide_cells: Rows (and columns) of the guide grid; the image has two pixels per cell.
        source_count: Source views.
        channel_count: Channels of the operator.
        strides_px: Its strides.
        memory_channel_count: Channels of the operator that memory is measured with.
        repeats: Turns.
    """

    guide_cells: int = 64
    source_count: int = 8
    channel_count: int = 768
    strides_px: tuple[float, ...] = (4.0, 14.0)
    memory_channel_count: int = 1024
    repeats: int = 5


FULL = SpeedSize()


@dataclass(frozen=True, slots=True)
class OperatorSpeed:
    """What one more operator costs: medians in seconds, of each stage and of their sum."""

    channels: int
    stride_px: float
    cells: int
    taps: int
    weights_seconds: float
    correct_seconds: float
    blend_seconds: float
    operator_seconds: float


@dataclass(frozen=True, slots=True)
class SpeedFigures:
    """What ``lift3d bench speed`` measured.

    Attributes:
        lifter: Its name.
        location: Of the scene.
        threads: Of torch.
        sources: Source views.
        guide_cells: Rows and columns of the guide grid.
        propose_seconds: Once per target, median.
        picture_seconds: Of the guide's picture, once per target, median.
        operators: By stride.
        memory: Of a process that lifts one target once.
    """

    lifter: str
    location: str
    threads: int
    sources: int
    guide_cells: tuple[int, int]
    propose_seconds: float
    picture_seconds: float
    operators: tuple[OperatorSpeed, ...]
    memory: MemoryFigures


def measure(
    size: SpeedSize | None = None, location: str = SCENE, lifter: str = "lift3d", threads: int | None = None
) -> SpeedFigures:
    """Measure and return the figures.

    Args:
        size: How much; the full size if None.
        location: Scene.
        lifter: Catalog name.
        threads: Of torch, all cores if None; the setting found is restored.

    Raises:
        ConfigError: If the scene has too few views, or there is less than one thread.
        UnknownNameError: If no lifter has that name.
    """
    size, thread_count = size or FULL, (os.cpu_count() or 1) if threads is None else threads
    if thread_count < 1:
        raise ConfigError(f"At least one thread is needed, got {thread_count}.")
    built, before = build_lifter(lifter), torch.get_num_threads()
    torch.set_num_threads(thread_count)
    try:
        with torch.inference_mode():
            scene = SpeedScene.read(location, size.guide_cells, size.source_count)
            proposal = scene.propose(built)
            propose_seconds = _median(lambda: scene.propose(built), size.repeats)
            picture_seconds = _median(lambda: scene.lift_picture(proposal), size.repeats)
            operators = tuple(_operator(built, scene, proposal, stride, size) for stride in size.strides_px)
        memory = in_fresh_process(location, lifter, size.guide_cells, size.source_count, size.memory_channel_count)
    finally:
        torch.set_num_threads(before)
    return SpeedFigures(
        lifter,
        location,
        thread_count,
        size.source_count,
        proposal.grid.shape,
        propose_seconds,
        picture_seconds,
        operators,
        memory,
    )


def table(figures: SpeedFigures) -> str:
    """Return the figures as text."""
    rows, cols = figures.guide_cells
    lines = [
        f"{figures.lifter} on {figures.location}: {figures.sources} sources, {figures.threads} threads, "
        f"guide grid {rows}×{cols}; medians in seconds",
        "",
        f"once per target: propose {figures.propose_seconds:.3f}, picture {figures.picture_seconds:.3f}",
        "",
        f"{'per operator':<24} {'cells':>7} {'weights':>8} {'correct':>8} {'blend':>8} {'sum':>8}",
    ]
    for one in figures.operators:
        name = f"{one.channels} channels, stride {one.stride_px:g}"
        parts = (one.weights_seconds, one.correct_seconds, one.blend_seconds, one.operator_seconds)
        lines.append(f"{name:<24} {one.cells:>7} {' '.join(f'{seconds:>8.4f}' for seconds in parts)}")
    memory = figures.memory
    peak, held, started = (count / 2**20 for count in (memory.peak_bytes, memory.held_bytes, memory.started_bytes))
    lines += [
        "",
        f"peak memory of a fresh process, {memory.channels} channels on {memory.operator_cells[0]}×"
        f"{memory.operator_cells[1]} cells, {memory.sources} sources: {peak:.0f} MiB "
        f"(started {started:.0f}, with frames and features {held:.0f}); a plan counts "
        f"{memory.predicted_bytes / 2**20:.0f}, {memory.predicted_bytes / memory.peak_bytes:.2f} of it",
    ]
    return "\n".join(lines)


def _operator(
    lifter: Lifter, scene: SpeedScene, proposal: RayProposal, stride_px: float, size: SpeedSize
) -> OperatorSpeed:
    """Time one more operator, stage by stage."""
    operator = RandomOperator.of(scene, size.channel_count, stride_px)
    turns = [_operator_turn(lifter, proposal, operator) for _ in range(size.repeats + 1)][1:]
    weights, correct, blended = (statistics.median(seconds) for seconds in zip(*turns, strict=True))
    together, cells = statistics.median(map(sum, turns)), operator.guide.grid.cell_count
    return OperatorSpeed(size.channel_count, stride_px, cells, TAP_COUNT, weights, correct, blended, together)


def _operator_turn(lifter: Lifter, proposal: RayProposal, operator: RandomOperator) -> tuple[float, float, float]:
    guide = operator.guide if lifter.spec.is_guided else None
    start = time.perf_counter()
    weights = weights_at(proposal, operator.guide.grid, tap_count=TAP_COUNT)
    weighed = time.perf_counter()
    weights = lifter.correct(proposal, weights, operator.sources, guide)
    corrected = time.perf_counter()
    blend(weights, operator.sources)
    return weighed - start, corrected - weighed, time.perf_counter() - corrected


def _median(work: Callable[[], object], repeats: int) -> float:
    turns = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        turns.append(time.perf_counter() - start)
    return statistics.median(turns[1:])
