"""How much memory lifting one target takes: a process of its own that lifts it once and reads its peak."""

import json
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter

from lift3d.bench.speed_scene import GUIDE_STRIDE_PX, RandomOperator, SpeedScene, frame_bytes
from lift3d.config import Recipe
from lift3d.errors import WorkerLostError
from lift3d.lifters.catalog import build_lifter
from lift3d.lifters.weights import TAP_COUNT
from lift3d.operators.protocol import OperatorSpec
from lift3d.pipeline.blend import lift_features
from lift3d.runs.planned.peak import WORKSPACE_BYTES
from lift3d.runs.planned.proposals import working_bytes
from lift3d.runs.planned.sizes import lifted_bytes


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """What lifting one target takes.

    Attributes:
        guide_cells: Rows and columns of the guide grid.
        operator_cells: Of the operator's grid.
        sources: Source views.
        channels: Of the operator.
        taps: Of its cells.
        frame_bytes: Of the sources' frames.
        feature_bytes: Of the sources' features and of the guide's.
        started_bytes: Resident with the lifter loaded.
        held_bytes: Resident with frames and features.
        peak_bytes: Most that was resident, in all stages from propose to blend.
        predicted_bytes: What a plan counts for the same.
    """

    guide_cells: tuple[int, int]
    operator_cells: tuple[int, int]
    sources: int
    channels: int
    taps: int
    frame_bytes: int
    feature_bytes: int
    started_bytes: int
    held_bytes: int
    peak_bytes: int
    predicted_bytes: int


def in_fresh_process(location: str, lifter: str, cells: int, source_count: int, channel_count: int) -> MemoryFigures:
    """Measure in a process of its own, with as many threads as here.

    Args:
        location: Scene.
        lifter: Catalog name.
        cells: Rows (and columns) of the guide grid and of the operator's grid.
        source_count: Source views.
        channel_count: Channels of the operator.

    Raises:
        WorkerLostError: If the process does not finish.
    """
    arguments = [location, lifter, cells, source_count, channel_count, torch.get_num_threads()]
    command = [sys.executable, "-m", "lift3d.bench.speed_memory", *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        last = answer.stderr.strip().splitlines()[-1:] or ["killed"]
        raise WorkerLostError(
            f"The process that measures memory ended with code {answer.returncode} ({last[0]}); expected figures. "
            "It may have run out of memory: free some and run again."
        )
    return TypeAdapter(MemoryFigures).validate_json(answer.stdout)


def _measure(location: str, lifter_name: str, cells: int, source_count: int, channel_count: int) -> MemoryFigures:
    lifter = build_lifter(lifter_name)
    started_bytes = _resident_bytes()
    scene = SpeedScene.read(location, cells, source_count)
    operator = RandomOperator.of(scene, channel_count, GUIDE_STRIDE_PX)
    held_bytes = _restarted_peak_bytes()
    proposal = scene.propose(lifter)
    guides = None
    if lifter.spec.is_guided:
        scene.lift_picture(proposal)
        guides = (operator.guide,)
    sources = [(one,) for one in operator.sources]
    lift_features(
        OperatorSpec("random", 1, "embedding"), lifter, proposal, sources, [operator.guide.grid], TAP_COUNT, guides
    )
    return MemoryFigures(
        guide_cells=proposal.grid.shape,
        operator_cells=operator.guide.grid.shape,
        sources=source_count,
        channels=channel_count,
        taps=TAP_COUNT,
        frame_bytes=frame_bytes(list(scene.frames.values())),
        feature_bytes=sum(4 * one.values.numel() for one in (*operator.sources, operator.guide)),
        started_bytes=started_bytes,
        held_bytes=held_bytes,
        peak_bytes=_peak_bytes(),
        predicted_bytes=started_bytes + _predicted_bytes(scene, operator, lifter_name),
    )


def _predicted_bytes(scene: SpeedScene, operator: RandomOperator, lifter_name: str) -> int:
    """Return what a plan counts for the same work, beyond the process as it started."""
    image, held = scene.target.camera.size, (*operator.sources, operator.guide)
    spec = OperatorSpec(
        "features", 1, "embedding", channel_count=operator.guide.channel_count, stride_px=float(GUIDE_STRIDE_PX)
    )
    recipe = Recipe(scenes=("target",), lifters=(lifter_name,), sources=len(operator.sources), taps=TAP_COUNT)
    return (
        WORKSPACE_BYTES
        + frame_bytes(list(scene.frames.values()))
        + sum(4 * one.values.numel() for one in held)
        + working_bytes(spec, image, recipe)
        + lifted_bytes(spec, image)
    )


def _resident_bytes() -> int:
    """Return what is resident now; the peak so far where the system does not tell (not Linux)."""
    found = _status_bytes("VmRSS")
    return _peak_bytes() if found is None else found


def _restarted_peak_bytes() -> int:
    """Lower the peak to what is resident now (Linux) and return it; a child inherits its parent's peak."""
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5")
    return _peak_bytes()


def _peak_bytes() -> int:
    found = _status_bytes("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit if found is None else found


def _status_bytes(field: str) -> int | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[6]))
    found = _measure(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
