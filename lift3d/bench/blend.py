"""How fast the blend is and how much memory it needs: 32 taps, ten sources, any number of channels.

The yardstick of time is a plain gather of the same bytes: ``torch.index_select`` of the very rows that the
bags read (4 corners per tap), from one contiguous table, into a reused buffer. The yardstick of sparsity is
the same blend fed with every sample of every ray; both copy every source map once, which bounds that ratio where
the target has few cells. Maps come in two layouts: "cell", the channels of a cell adjacent in memory (as token
models compute them), and "channel", the cells of a channel adjacent (as the store gives them). Memory is the rise
of the resident peak of a fresh process beyond arguments and result.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.weights import BlendingWeights
from lift3d.lifters.blend import blend
from lift3d.lifters.weights import TAP_COUNT

SOURCE_COUNT = 10
SAMPLES_PER_RAY = 64
# A ViT with patch 14 on a 518-pixel image.
SOURCE_CELLS, STRIDE_PX = 37, 14.0
TIME_CHANNELS = 768
LAYOUTS = ("cell", "channel")
# Four times as many source cells as timed, so that allocator noise stays far below the 5 % asked for.
MEMORY_SOURCE_CELLS, MEMORY_CHANNELS = 111, (128, 256, 768, 1024)


def run(
    target_cells: tuple[int, ...] = (37, 74),
    threads: tuple[int, ...] = (1, 2),
    repeats: int = 5,
    memory_channels: tuple[int, ...] = MEMORY_CHANNELS,
    memory_source_cells: int = MEMORY_SOURCE_CELLS,
) -> dict[str, Any]:
    """Measure and return the figures: ``time`` (an entry per threads, target size and layout) and ``memory``.

    Args:
        target_cells: Rows (and columns) of the target grids to time.
        threads: Torch threads to time with; the setting found is restored.
        repeats: Each figure is the fastest of so many runs, taken in turns.
        memory_channels: Channel counts to measure memory at.
        memory_source_cells: Rows (and columns) of the source grids that memory is measured with.
    """
    before = torch.get_num_threads()
    timed = []
    try:
        for thread_count in threads:
            torch.set_num_threads(thread_count)
            timed += [_time_figures(cells, layout, repeats) for cells in target_cells for layout in LAYOUTS]
    finally:
        torch.set_num_threads(before)
    return {"time": timed, "memory": memory_figures(memory_channels, memory_source_cells)}


def table(figures: dict[str, Any]) -> str:
    """Return the figures as text."""
    dense = SOURCE_COUNT * SAMPLES_PER_RAY
    head = f"{'target':>9} {'layout':>7} {'threads':>7} {'blend s':>8} {'gather s':>8} {f'{dense} taps s':>10}"
    lines = [f"{head} {'/gather':>8} {'dense/':>7}"]
    for row in figures["time"]:
        cells = row["target_cells"]
        seconds = f"{row['blend_s']:>8.3f} {row['gather_s']:>8.3f} {row['dense_s']:>10.3f}"
        ratios = f"{row['over_gather']:>8.2f} {row['under_dense']:>7.1f}"
        lines.append(f"{cells:>4}×{cells:<4} {row['layout']:>7} {row['threads']:>7} {seconds} {ratios}")
    lines += ["", f"{'channels':>9} {'extra MiB':>10}"]
    lines += [f"{row['channels']:>9} {row['extra_bytes'] / 2**20:>10.1f}" for row in figures["memory"]]
    return "\n".join(lines)


def memory_figures(channels: tuple[int, ...], source_cells: int) -> list[dict[str, int]]:
    """Return the peak memory beyond arguments and result, each measured in a process of its own."""
    # Freed blocks go back to the system at once, so the peak counts what is in use, not caches.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    figures = []
    for channel_count in channels:
        command = [sys.executable, "-m", "lift3d.bench.blend", str(channel_count), str(source_cells)]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        figures.append({"channels": channel_count, "extra_bytes": int(answer.stdout)})
    return figures


def _time_figures(target_cells: int, layout: str, repeats: int) -> dict[str, Any]:
    maps = _maps(TIME_CHANNELS, SOURCE_CELLS, layout)
    sparse = _weights(target_cells, TAP_COUNT, SOURCE_CELLS)
    dense = _weights(target_cells, SOURCE_COUNT * SAMPLES_PER_RAY, SOURCE_CELLS)
    # In turns, so that whatever else the machine does falls on all three.
    works = (lambda: blend(sparse, maps), _gather(sparse), lambda: blend(dense, maps))
    rounds = [[_seconds(work) for work in works] for _ in range(repeats)]
    blend_s, gather_s, dense_s = (min(figures) for figures in zip(*rounds, strict=True))
    return {
        "target_cells": target_cells,
        "layout": layout,
        "threads": torch.get_num_threads(),
        "blend_s": blend_s,
        "gather_s": gather_s,
        "dense_s": dense_s,
        "over_gather": blend_s / gather_s,
        "under_dense": dense_s / blend_s,
    }


def _maps(channel_count: int, cells: int, layout: str = LAYOUTS[0]) -> list[FeatureMap]:
    grid = FeatureGrid(cells, cells, STRIDE_PX, STRIDE_PX)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(SOURCE_COUNT):
        values = torch.rand(cells, cells, channel_count, generator=generator).permute(2, 0, 1)
        found.append(FeatureMap(values if layout == "cell" else values.contiguous(), grid))
    return found


def _weights(target_cells: int, tap_count: int, source_cells: int) -> BlendingWeights:
    """Return taps as rays make them: smooth over the target, a few cells of parallax along the ray."""
    generator = torch.Generator().manual_seed(1)
    extent = source_cells * STRIDE_PX
    grid = FeatureGrid(target_cells, target_cells, extent / target_cells, extent / target_cells)
    cell_count = grid.cell_count
    index = torch.arange(cell_count)
    uv = torch.stack([index % target_cells, index // target_cells], dim=-1).float() * grid.stride_u
    parallax = 4 * STRIDE_PX * torch.rand(cell_count, tap_count, 2, generator=generator)
    weight = torch.rand(cell_count, tap_count, generator=generator)
    return BlendingWeights(
        grid=grid,
        source_ids=tuple(str(source) for source in range(SOURCE_COUNT)),
        source=torch.arange(tap_count).remainder(SOURCE_COUNT).expand(cell_count, -1),
        uv=uv[:, None] + parallax,
        weight=weight / weight.sum(1, keepdim=True),
        log_scale_ratio=torch.zeros(cell_count, tap_count),
        z_depth=torch.ones(cell_count),
        coverage=torch.ones(cell_count),
    )


def _gather(weights: BlendingWeights) -> Callable[[], None]:
    """Return the plain gather of the bytes that the blend reads: ``cell · tap · 4`` rows of all channels."""
    rows = torch.rand(SOURCE_COUNT * SOURCE_CELLS**2, TIME_CHANNELS)
    column = (weights.uv[..., 0] / STRIDE_PX).long().clamp(0, SOURCE_CELLS - 2)
    row = (weights.uv[..., 1] / STRIDE_PX).long().clamp(0, SOURCE_CELLS - 2)
    first = weights.source * SOURCE_CELLS**2 + row * SOURCE_CELLS + column
    corners = torch.stack([first, first + 1, first + SOURCE_CELLS, first + SOURCE_CELLS + 1], dim=-1).flatten()
    tile = 16 * 4 * TAP_COUNT
    buffer = torch.empty(tile, TIME_CHANNELS)

    def gather() -> None:
        for start in range(0, len(corners), tile):
            part = corners[start : start + tile]
            torch.index_select(rows, 0, part, out=buffer[: len(part)])

    return gather


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _extra_bytes(channel_count: int, source_cells: int) -> int:
    torch.set_num_threads(1)
    weights, maps = _weights(2 * SOURCE_CELLS, TAP_COUNT, source_cells), _maps(channel_count, source_cells)
    # A first small blend loads kernels and thread pools, which are no part of the working set.
    blend(_weights(2, TAP_COUNT, 2), _maps(8, 2))
    before = _restarted_peak_bytes()
    blended = blend(weights, maps).features.values
    return _peak_bytes() - before - blended.numel() * blended.element_size()


def _restarted_peak_bytes() -> int:
    """Lower the peak to what is resident now (Linux) and return it; a child inherits its parent's peak."""
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5")
    return _peak_bytes()


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.stdout.write(f"{_extra_bytes(int(sys.argv[1]), int(sys.argv[2]))}\n")
