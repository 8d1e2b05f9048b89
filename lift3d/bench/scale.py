"""``lift3d bench scale``: what orchestration costs, on this machine, through a real Prefect server and a real Ray.

Three measurements. Control: very many scenes whose work is nothing; scenes per second by thousands, and the memory
of driver and servers after each. Overhead: few, some and many real scenes against a bare loop over the same ones;
start-up and slope apart. Workers: two workers against two bare processes of the same loop, in turns.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.local_run import run_flow
from lift3d.config import Execution, Recipe, scene_name
from lift3d.domain.records import SceneRecord
from lift3d.pipeline.inputs import Report
from lift3d.runs.records import write_record
from lift3d.storage.location import Store

# Small enough that hundreds take minutes, large enough that a scene is work: about half a second on one core.
_REAL = "procedural:room?seed={seed}&views=6&height=48&width=64"
_SHOWN_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Thousand:
    """A thousand scenes of the control measurement.

    Attributes:
        scenes: Finished so far.
        scenes_per_s: Of this thousand.
        driver_mib: Resident memory of the driver.
        servers_mib: Resident memory of Prefect's server and of Ray's head processes, without workers.
    """

    scenes: int
    scenes_per_s: float
    driver_mib: float
    servers_mib: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How long scenes took in one run.

    Attributes:
        scenes: How many.
        start_up_s: From the start to the first finished scene, less one scene.
        slope_s: Seconds per scene after that.
    """

    scenes: int
    start_up_s: float
    slope_s: float


@dataclass(frozen=True, slots=True)
class ScaleFigures:
    """What ``lift3d bench scale`` measured.

    Attributes:
        cores: Of this machine.
        control: By thousands.
        serial: A bare loop in a process of its own, per number of scenes, of the largest one per turn.
        flow: Prefect and Ray with one worker, right after each of those.
        two_processes_s: Seconds per scene of two bare processes side by side, each run.
        two_workers_s: The same of two workers.
    """

    cores: int
    control: tuple[Thousand, ...]
    serial: tuple[Pace, ...]
    flow: tuple[Pace, ...]
    two_processes_s: tuple[float, ...]
    two_workers_s: tuple[float, ...]

    @property
    def slope_ratio(self) -> float:
        """Slope of the flow over that of the bare loop, at the largest number of scenes: the median over turns."""
        pairs = zip(self.serial, self.flow, strict=True)
        most = self.serial[-1].scenes
        return statistics.median(flow.slope_s / bare.slope_s for bare, flow in pairs if bare.scenes == most)

    @property
    def worker_ratio(self) -> float:
        """Throughput of two workers over that of two bare processes: the median over turns."""
        pairs = zip(self.two_processes_s, self.two_workers_s, strict=True)
        return statistics.median(bare / ours for bare, ours in pairs)


def measure_scale(
    control_count: int, counts: Sequence[int], turns: int, tell: Callable[[str], None] = lambda line: None
) -> ScaleFigures:
    """Measure; takes minutes to an hour.

    Args:
        control_count: Scenes of the control measurement.
        counts: Numbers of real scenes, ascending.
        turns: How often the flow and a bare loop take turns with the largest of ``counts``, and two workers and two
            processes with half of that.
        tell: Called with a line now and then.
    """
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        root = Path(folder)
        control = _control(root / "control", control_count, tell)
        serial, flow = [], []
        for turn, count in enumerate([*counts, *[counts[-1]] * (turns - 1)]):
            serial.append(_serial_pace(root / f"serial-{turn}", count))
            flow.append(_flow_pace(root / f"flow-{turn}", count, workers=1))
            tell(f"serial {serial[-1]}, flow {flow[-1]}: {flow[-1].slope_s / serial[-1].slope_s:.3f}")
    bare, ours = measure_workers(max(2, counts[-1] // 2), turns, tell)
    return ScaleFigures(os.cpu_count() or 1, tuple(control), tuple(serial), tuple(flow), bare, ours)


def measure_workers(
    count: int, turns: int, tell: Callable[[str], None] = lambda line: None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return seconds per scene of two bare processes and of two workers, which take turns with so many scenes."""
    bare, ours = [], []
    for _ in range(turns):
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            bare.append(_two_processes(Path(folder, "bare"), count))
            ours.append(_flow_pace(Path(folder, "two"), count, workers=2).slope_s)
        tell(f"two processes {bare[-1]:.3f} s per scene, two workers {ours[-1]:.3f}: {bare[-1] / ours[-1]:.3f}")
    return tuple(bare), tuple(ours)


def bare_loop(store: str, first: int, count: int) -> list[float]:
    """Run scenes one after the other in this process, with nothing around them; when each was done."""
    import torch

    from lift3d.overlap import use_cores
    from lift3d.pipeline.models import Models
    from lift3d.runs.driver import attempt_scene
    from lift3d.runs.records import begin_run
    from lift3d.storage.location import open_store

    torch.set_num_threads(1)
    use_cores(1)
    recipe = real_recipe(first, count)
    place = open_store(store, create=True)
    begin_run(recipe, place)
    models = Models.of(recipe)
    done = []
    for location in recipe.scenes:
        attempt_scene(location, recipe, models, place)
        done.append(time.time())
    return done


def real_recipe(first: int, count: int) -> Recipe:
    """Return the recipe of so many real scenes."""
    return Recipe(
        scenes=tuple(_REAL.format(seed=first + number) for number in range(count)),
        lifters=("anchored",),
        image_height=48,
        target_mode="heldout",
    )


def prepare_stub(recipe: Recipe, execution: Execution, store: Store) -> Callable[[str, Report], SceneRecord]:
    """Return what records a scene as done and does nothing else: what is left is Prefect, Ray and the store."""

    def attempt(location: str, report: Report) -> SceneRecord:
        report("stub", 0, 1)
        record = SceneRecord(scene_name(location), location, "ok")
        return write_record(store, recipe, record)

    return attempt


def _control(root: Path, count: int, tell: Callable[[str], None]) -> list[Thousand]:
    recipe = Recipe(operators=("rgb",), scenes=tuple(f"procedural:room?seed={number}" for number in range(count)))
    marks: list[Thousand] = []
    done, began = 0, time.monotonic()

    def on_scene(record: SceneRecord) -> None:
        nonlocal done, began
        done += 1
        if done % _SHOWN_EVERY == 0:
            now = time.monotonic()
            driver, servers = _memory_mib()
            marks.append(Thousand(done, _SHOWN_EVERY / (now - began), driver, servers))
            tell(f"control {marks[-1]}")
            began = now

    # The first thousand pays for the start of server, cluster and workers; what is measured begins with a scene.
    execution = Execution(store=str(root), workers=2, cpus_per_worker=0.5, batch_size=500)
    run_flow(recipe, execution, on_scene, _ignore, prepare_stub)
    return marks


def _memory_mib() -> tuple[float, float]:
    own = psutil.Process()
    servers = 0
    for child in own.children(recursive=True):
        try:
            if "SceneWorker" not in " ".join(child.cmdline()):
                servers += child.memory_info().rss
        except psutil.Error:
            continue  # it ended meanwhile
    return own.memory_info().rss / 2**20, servers / 2**20


def _serial_pace(root: Path, count: int) -> Pace:
    began = time.time()
    return _pace(began, _in_process(root, 0, count))


def _flow_pace(root: Path, count: int, workers: int) -> Pace:
    done: list[float] = []
    began = time.time()
    execution = Execution(store=str(root), workers=workers, batch_size=max(count, 1))
    run_flow(real_recipe(0, count), execution, lambda record: done.append(time.time()), _ignore)
    return _pace(began, done)


def _two_processes(root: Path, count: int) -> float:
    """Two bare processes with half of the scenes each; seconds per scene while both are at work."""
    half = count // 2
    with ThreadPoolExecutor(2) as pool:
        ways = [pool.submit(_in_process, root / str(way), way * half, half) for way in range(2)]
        done = sorted(time for way in ways for time in way.result())
    return _pace(done[0], done).slope_s


def _in_process(root: Path, first: int, count: int) -> list[float]:
    code = "import json, sys; from lift3d.bench.scale import bare_loop; "
    code += "print(json.dumps(bare_loop(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))"
    command = [sys.executable, "-c", code, str(root), str(first), str(count)]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    times: list[float] = json.loads(made.stdout.splitlines()[-1])
    return times


def _pace(began: float, done: Sequence[float]) -> Pace:
    """Return start-up and slope of a run from the times at which its scenes were done."""
    slope = (done[-1] - done[0]) / max(len(done) - 1, 1)
    return Pace(len(done), done[0] - began - slope, slope)


def _ignore(stage: str, done: int, total: int) -> None:
    """Listen to no stage."""
