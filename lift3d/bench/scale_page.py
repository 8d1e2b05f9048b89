"""The page of ``lift3d bench scale``: figures as tables, with the bar beside each."""

import datetime
from collections.abc import Sequence

from lift3d.bench.scale import ScaleFigures, Thousand

SLOPE_BAR, WORKER_BAR = 1.01, 0.95


def scale_page(figures: ScaleFigures, cost: str = "") -> str:
    """Return the page in Markdown.

    Args:
        figures: What was measured.
        cost: The section on what a million scenes need.
    """
    lines = [
        "# Scale",
        "",
        f"`lift3d bench scale`, {datetime.date.today().isoformat()}, {figures.cores} cores. Through a temporary "
        "Prefect server and a Ray of one node; the store is a folder.",
        "",
        "## Orchestration alone",
        "",
        "Scenes whose work is nothing but their record. Memory is resident, servers are Prefect's and Ray's without "
        "the workers.",
        "",
        "| scenes | scenes per second | driver MiB | servers MiB |",
        "|---:|---:|---:|---:|",
        *(
            f"| {one.scenes:.0f} | {one.scenes_per_s:.1f} | {one.driver_mib:.0f} | {one.servers_mib:.0f} |"
            for one in figures.control
        ),
        "",
        *_control_words(figures.control),
        "## Real scenes against a bare loop",
        "",
        "One worker, and the same scenes in a bare loop of `attempt_scene` in a process of its own.",
        "",
        "| scenes | bare start-up s | bare s per scene | flow start-up s | flow s per scene | ratio |",
        "|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {bare.scenes} | {bare.start_up_s:.1f} | {bare.slope_s:.3f} | {flow.start_up_s:.1f} | "
            f"{flow.slope_s:.3f} | {flow.slope_s / bare.slope_s:.3f} |"
            for bare, flow in zip(figures.serial, figures.flow, strict=True)
        ),
        "",
        f"Slope of the flow over the bare loop's at the most scenes, median of turns: **{figures.slope_ratio:.3f}** "
        f"(bar {SLOPE_BAR:g}, {_met(figures.slope_ratio <= SLOPE_BAR)}).",
        "",
        "Two workers against two bare processes, in turns, seconds per scene: "
        + "; ".join(
            f"{bare:.3f} bare, {ours:.3f} ours"
            for bare, ours in zip(figures.two_processes_s, figures.two_workers_s, strict=True)
        )
        + f". Throughput ratio, median: **{figures.worker_ratio:.3f}** "
        f"(bar {WORKER_BAR:g}, {_met(figures.worker_ratio >= WORKER_BAR)}).",
        "",
    ]
    return "\n".join([*lines, cost]).rstrip() + "\n"


def _control_words(control: Sequence[Thousand]) -> list[str]:
    if len(control) < 2:
        return []
    first, last = control[1 if len(control) > 2 else 0], control[-1]
    pace = last.scenes_per_s / first.scenes_per_s
    return [
        f"The last thousand ran at {pace:.2f} of the pace of the {first.scenes / 1000:.0f}. thousand; driver "
        f"{last.driver_mib - first.driver_mib:+.0f} MiB, servers "
        f"{last.servers_mib - first.servers_mib:+.0f} MiB between the two.",
        "",
    ]


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"
