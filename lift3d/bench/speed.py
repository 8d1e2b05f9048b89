"""What lifting one target costs on this machine: stage I, one more operator stage by stage, and memory.

Every figure of time is the median of several turns; a first turn warms up and does not count.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lift3d.bench.speed_memory import in_fresh_process
from lift3d.bench.speed_scene import RandomOperator, SpeedScene
from lift3d.domain.proposals import RayProposal
from lift3d.errors import ConfigError
from lift3d.lifters.blend import blend
from lift3d.lifters.catalog import build_lifter
from lift3d.lifters.protocol import Lifter
from lift3d.lifters.weights import TAP_COUNT, weights_at

SCENE = "procedural:room?seed=1&views=24"
_PARTS = ("weights", "correct", "blend")


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


def measure(
    size: SpeedSize | None = None, location: str = SCENE, lifter: str = "lift3d", threads: int | None = None
) -> dict[str, Any]:
    """Measure and return the figures, ready for JSON.

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
            stage_one = {
                "propose_seconds": _median(lambda: scene.propose(built), size.repeats),
                "picture_seconds": _median(lambda: scene.lift_picture(proposal), size.repeats),
            }
            operators = [_operator(built, scene, proposal, stride, size) for stride in size.strides_px]
        memory = in_fresh_process(location, lifter, size.guide_cells, size.source_count, size.memory_channel_count)
    finally:
        torch.set_num_threads(before)
    return {
        "lifter": lifter,
        "location": location,
        "threads": thread_count,
        "sources": size.source_count,
        "guide_cells": list(proposal.grid.shape),
        **stage_one,
        "operators": operators,
        "memory": memory,
    }


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as text."""
    rows, cols = figures["guide_cells"]
    lines = [
        f"{figures['lifter']} on {figures['location']}: {figures['sources']} sources, {figures['threads']} threads, "
        f"guide grid {rows}×{cols}; medians in seconds",
        "",
        f"once per target: propose {figures['propose_seconds']:.3f}, picture {figures['picture_seconds']:.3f}",
        "",
        f"{'per operator':<24} {'cells':>7} {'weights':>8} {'correct':>8} {'blend':>8} {'sum':>8}",
    ]
    for one in figures["operators"]:
        name = f"{one['channels']} channels, stride {one['stride_px']:g}"
        parts = " ".join(f"{one[f'{part}_seconds']:>8.4f}" for part in (*_PARTS, "operator"))
        lines.append(f"{name:<24} {one['cells']:>7} {parts}")
    memory = figures["memory"]
    peak, held, started = (memory[name] / 2**20 for name in ("peak_bytes", "held_bytes", "started_bytes"))
    lines += [
        "",
        f"peak memory of a fresh process, {memory['channels']} channels on {memory['operator_cells'][0]}×"
        f"{memory['operator_cells'][1]} cells, {memory['sources']} sources: {peak:.0f} MiB "
        f"(started {started:.0f}, with frames and features {held:.0f}); a plan counts "
        f"{memory['predicted_bytes'] / 2**20:.0f}, {memory['predicted_bytes'] / memory['peak_bytes']:.2f} of it",
    ]
    return "\n".join(lines)


def _operator(
    lifter: Lifter, scene: SpeedScene, proposal: RayProposal, stride_px: float, size: SpeedSize
) -> dict[str, Any]:
    """Time one more operator, stage by stage."""
    operator = RandomOperator.of(scene, size.channel_count, stride_px)
    turns = [_operator_turn(lifter, proposal, operator) for _ in range(size.repeats + 1)][1:]
    return {
        "channels": size.channel_count,
        "stride_px": stride_px,
        "cells": operator.guide.grid.cell_count,
        "taps": TAP_COUNT,
        **{
            f"{part}_seconds": statistics.median(seconds)
            for part, seconds in zip(_PARTS, zip(*turns, strict=True), strict=True)
        },
        "operator_seconds": statistics.median(map(sum, turns)),
    }


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
