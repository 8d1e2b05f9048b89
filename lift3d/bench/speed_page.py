"""The figures of ``lift3d bench speed`` as text."""

from collections.abc import Mapping
from typing import Any


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as text."""
    rows, cols = figures["guide_cells"]
    lines = [
        f"{figures['lifter']} on {figures['location']}: {figures['sources']} sources, {figures['threads']} threads, "
        f"guide grid {rows}×{cols}; medians",
        "",
        f"{'64×64 cells':<26} {'seconds':>9} {'GMAC':>9} {'GMAC/s':>7}",
        _stage_line("propose (once)", figures["propose_seconds_64x64"], figures["propose_multiply_adds_64x64"]),
        _stage_line("picture (once)", figures["picture_seconds"], None),
    ]
    for one in figures["gnt"]:
        name = f"GNT size, {one['sources']} src, {one['chunk_rays']} rays"
        lines.append(_stage_line(name, one["seconds_64x64"], one["multiply_adds_64x64"]))
    lines += [f"propose takes {figures['propose_ratio_to_gnt']:.1f} times less than the ray-by-ray network", ""]
    head = (
        f"{'operator':<24} {'cells':>7} {'weights':>8} {'correct':>8} {'blend':>8} {'sum s':>8} {'all samples s':>14}"
    )
    lines.append(f"{head} {'ratio':>6}")
    for one in figures["operators"]:
        name = f"{one['channels']} ch, stride {one['stride_px']:g}, {one['sources']} src"
        parts = " ".join(f"{one[f'{part}_seconds']:>8.4f}" for part in ("weights", "correct", "blend", "operator"))
        dense = f"{one['dense_seconds']:>8.4f} ({one['dense_samples']})"
        lines.append(f"{name:<24} {one['cells']:>7} {parts} {dense:>14} {one['ratio_to_dense']:>6.1f}")
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


def _stage_line(name: str, seconds: float, count: int | float | None) -> str:
    rate = f"{count / 1e9:>9.2f} {count / seconds / 1e9:>7.1f}" if count is not None else f"{'–':>9} {'–':>7}"
    return f"{name:<26} {seconds:>9.3f} {rate}"
