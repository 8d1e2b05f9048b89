"""What lifting costs, against a renderer that pays for every sample of every ray: one run, same machine, same sources.

Stage I (``propose``) is timed against a ray-by-ray network of GNT's size, per target cell. One more operator (weights,
correction, blend) is timed against gathering and blending every sample of every ray with the same kernel. Whatever is
compared is run in turns, and every figure of time is the median of its turns, so that what else the machine does
falls on both sides. The reference is favoured: its features are given, and it has its best chunk of rays.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lift3d.bench.ray_transformer import RayBatch, RayTransformer, RayTransformerSize
from lift3d.bench.speed_memory import in_fresh_process
from lift3d.bench.speed_scene import RandomOperator, SpeedScene, all_samples
from lift3d.domain.proposals import RayProposal
from lift3d.errors import ConfigError
from lift3d.lifters.blend import blend
from lift3d.lifters.catalog import build_lifter
from lift3d.lifters.protocol import Lifter
from lift3d.lifters.weights import TAP_COUNT, weights_at

SCENE = "procedural:room?seed=1&views=24"
CELLS_64 = 64 * 64
_SEARCH_REPEATS = 3


@dataclass(frozen=True, slots=True)
class SpeedSize:
    """How much is measured.

    Attributes:
        guide_cells: Rows (and columns) of the guide grid; the image has two pixels per cell.
        source_count: Source views of stage I and of memory.
        dense_source_count: Source views of the operators, and of the reference once more: as GNT has them.
        reference: Sizes of the ray-by-ray network; its number of sources is replaced.
        ray_count: Rays that it is timed on, a multiple of the chunks.
        chunks: Rays at once; the fastest is used.
        channel_count: Channels of the operator.
        strides_px: Its strides; the first gives the headline.
        memory_channel_count: Channels of the operator that memory is measured with.
        repeats: Turns.
    """

    guide_cells: int = 64
    source_count: int = 8
    dense_source_count: int = 10
    reference: RayTransformerSize = field(default_factory=RayTransformerSize)
    ray_count: int = 64
    chunks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
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
            scene = SpeedScene.read(location, size.guide_cells, max(size.source_count, size.dense_source_count))
            proposed = _stage_one(built, scene.with_sources(size.source_count), size)
            counts = dict.fromkeys((size.dense_source_count, size.source_count))
            operators = [
                _operator(built, scene.with_sources(count), stride, size)
                for count in counts
                for stride in size.strides_px
            ]
        memory = in_fresh_process(location, lifter, size.guide_cells, size.source_count, size.memory_channel_count)
    finally:
        torch.set_num_threads(before)
    return {
        "lifter": lifter,
        "location": location,
        "threads": thread_count,
        "sources": size.source_count,
        **proposed,
        "operator_ratio_to_dense": operators[0]["ratio_to_dense"],
        "operators": operators,
        "memory": memory,
    }


def multiply_adds(work: Callable[[], object]) -> int:
    """Return the multiply-adds of a call in convolutions and matrix products; warps, filters and sums do not count."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops()) // 2


def _stage_one(lifter: Lifter, scene: SpeedScene, size: SpeedSize) -> dict[str, Any]:
    """Time propose and the lifted picture in turns with the reference at both numbers of sources."""
    proposal = scene.propose(lifter)
    counts = dict.fromkeys((size.source_count, size.dense_source_count))
    references = [
        _Reference(replace(size.reference, source_count=count), size.ray_count, size.chunks) for count in counts
    ]
    works: list[Callable[[], object]] = [lambda: scene.propose(lifter), lambda: scene.lift_picture(proposal)]
    propose_s, picture_s, *reference_s = _medians([*works, *(one.run for one in references)], size.repeats)
    per_64 = CELLS_64 / proposal.grid.cell_count
    gnt = [one.figures(seconds) for one, seconds in zip(references, reference_s, strict=True)]
    counted = multiply_adds(works[0])
    return {
        "guide_cells": list(proposal.grid.shape),
        "propose_seconds": propose_s,
        "propose_seconds_64x64": propose_s * per_64,
        "propose_multiply_adds_64x64": counted * per_64,
        "propose_gmac_per_second": counted / propose_s / 1e9,
        "picture_seconds": picture_s,
        "propose_ratio_to_gnt": gnt[0]["seconds_64x64"] / (propose_s * per_64),
        "gnt": gnt,
    }


class _Reference:
    """The ray-by-ray network on random rays, in its fastest chunks."""

    def __init__(self, size: RayTransformerSize, ray_count: int, chunks: tuple[int, ...]) -> None:
        self._size = size
        self._rays = RayBatch.random(ray_count, size)
        self._network = RayTransformer(size).eval()
        seconds = _medians([partial(self._pass, chunk) for chunk in chunks], _SEARCH_REPEATS)
        self._chunk = chunks[seconds.index(min(seconds))]

    def run(self) -> None:
        """Render all rays."""
        self._pass(self._chunk)

    def figures(self, seconds: float) -> dict[str, Any]:
        """Return what one pass in so many seconds means."""
        per_ray = seconds / len(self._rays.features)
        return {
            "sources": self._size.source_count,
            "samples": self._size.sample_count,
            "chunk_rays": self._chunk,
            "multiply_adds_per_ray": self._size.multiply_adds,
            "multiply_adds_64x64": self._size.multiply_adds * CELLS_64,
            "seconds_per_ray": per_ray,
            "seconds_64x64": per_ray * CELLS_64,
            "gmac_per_second": self._size.multiply_adds / per_ray / 1e9,
        }

    def _pass(self, chunk: int) -> None:
        for start in range(0, len(self._rays.features), chunk):
            self._network(self._rays.chunk(start, chunk))


def _operator(lifter: Lifter, scene: SpeedScene, stride_px: float, size: SpeedSize) -> dict[str, Any]:
    """Time one more operator, stage by stage, in turns with the blend of every sample."""
    proposal = scene.propose(lifter)
    operator = RandomOperator.of(scene, size.channel_count, stride_px)
    grid, sample_count = operator.guide.grid, size.reference.sample_count
    dense = all_samples(proposal, grid, scene.depth_range, sample_count)
    _operator_turn(lifter, proposal, operator)
    rounds = [
        (_operator_turn(lifter, proposal, operator), _seconds(lambda: blend(dense, operator.sources)))
        for _ in range(size.repeats)
    ]
    turns, dense_turns = zip(*rounds, strict=True)
    weights_s, correct_s, blend_s = (statistics.median(part) for part in zip(*turns, strict=True))
    operator_s, dense_s = statistics.median(map(sum, turns)), statistics.median(dense_turns)
    return {
        "channels": size.channel_count,
        "stride_px": stride_px,
        "cells": grid.cell_count,
        "sources": len(operator.sources),
        "taps": TAP_COUNT,
        "weights_seconds": weights_s,
        "correct_seconds": correct_s,
        "blend_seconds": blend_s,
        "operator_seconds": operator_s,
        "dense_samples": len(operator.sources) * sample_count,
        "dense_seconds": dense_s,
        "ratio_to_dense": dense_s / operator_s,
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


def _medians(works: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return each work's median seconds, run in turns; a first turn warms up and does not count."""
    rounds = [[_seconds(work) for work in works] for _ in range(repeats + 1)][1:]
    return [statistics.median(turns) for turns in zip(*rounds, strict=True)]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
