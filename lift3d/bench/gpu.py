"""What a GPU gives the whole line: views per second by stage, beside one core of the host and the encoder alone.

Every walk is a process's own, timed after one that warms it up. Shares are of what the device does at most: operations
of matrix products and convolutions against a product of large matrices, bytes of all operations against a copy.
"""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from threading import Barrier
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lift3d.config import Execution, Recipe, parse_recipe
from lift3d.overlap import use_cores
from lift3d.pipeline.device import computing_on, named_device
from lift3d.pipeline.encode import encode_together
from lift3d.pipeline.inputs import MOST_TOGETHER, SceneInputs, quiet
from lift3d.pipeline.models import Models
from lift3d.pipeline.scene import run_scene
from lift3d.runs.plan import plan
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store

SCENE, OPERATORS, IMAGE_HEIGHT = "procedural:room?seed=1&views=24&height=480&width=640", ("rgb", "tiny:encoder"), 192
# Side of the matrices, and bytes that are copied, by which a GPU's most is found; a host's are smaller.
_SIDE, _COPIED = 8192, 2**30
_HOST_SIDE, _HOST_COPIED = 1024, 2**26
_REPEATS = 10
# Stages of finding what views have in common, which figures compare.
_CORRESPONDING = ("look", "compare", "match", "find")
_at_once: Any = Barrier(1)
_numbers = count()


@dataclass(frozen=True, slots=True)
class WalkSpeed:
    """One scene walked by each of some workers on one device, side by side; the times are those of the slowest.

    The peak is what PyTorch held of the device's memory, per worker; 0 on the host.
    """

    device: str
    workers: int
    views: int
    seconds: float
    stages: dict[str, float]
    peak_bytes: int

    @property
    def views_per_second(self) -> float:
        """Of all workers together."""
        return self.workers * self.views / self.seconds


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """What ``lift3d bench gpu`` measured: walks, counts of one of them, the device's most per second, and the plan."""

    name: str
    walks: tuple[WalkSpeed, ...]
    encoder_views_per_second: float
    operations: int
    touched_bytes: int
    most_operations: float
    most_bytes: float
    planned_bytes: int


Apart = Callable[..., list[Any]]


def recipe_of(scene: str = SCENE, operators: tuple[str, ...] = OPERATORS, image_height: int = IMAGE_HEIGHT) -> Recipe:
    """Return what is measured: every view a target and its own source, as by default."""
    return parse_recipe({"scenes": [scene], "operators": operators, "image_height": image_height})


def in_processes(number: int, work: Callable[..., Any], *given: Any) -> list[Any]:
    """Do the same in several fresh processes side by side and return what each found."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, fresh, initializer=_meet, initargs=(fresh.Barrier(number),)) as pool:
        return [one.result() for one in [pool.submit(work, *given) for _ in range(number)]]


def measure(recipe: Recipe, device: str = "auto", apart: Apart = in_processes) -> GpuFigures:
    """Measure a device, by one worker and two, and one core of the host; ConfigError if there is no such device."""
    chosen = str(named_device(device))
    walks = []
    for where, number in dict.fromkeys([("cpu", 1), (chosen, 1), (chosen, 2)]):
        found = apart(number, walk, recipe, where)
        walks.append(replace(max(found, key=lambda one: one.seconds), workers=number))
    (counts,), (most,), (encoder,) = (apart(1, work, recipe, chosen) for work in (_counts, most_of, _encoder))
    planned = plan(recipe, Execution(store="memory://planned")).peak_bytes
    name = torch.cuda.get_device_name(chosen) if chosen.startswith("cuda") else chosen
    return GpuFigures(name, tuple(walks), encoder, counts[0], counts[1], most[0], most[1], planned)


def _meet(barrier: Any) -> None:
    global _at_once
    _at_once = barrier


class Stages:
    """Seconds by the first word of the stages that a walk reports; the device is waited for where one ends."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stage, self._since = "read", time.perf_counter()
        self.seconds: Counter[str] = Counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take a walk's report."""
        word = stage_of(stage)
        if word != self._stage:
            _settle(self._device)
            now = time.perf_counter()
            self.seconds[self._stage] += now - self._since  # type: ignore[assignment]
            self._stage, self._since = word, now


def stage_of(reported: str) -> str:
    """Return the stage that a walk's report is of: its first word, or ``score`` for all that only scores ask for."""
    word = reported.split()[0]
    return "score" if word in _CORRESPONDING else word


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def walk(recipe: Recipe, name: str) -> WalkSpeed:
    """Walk a scene twice on a device and return the times of the second walk."""
    torch.set_num_threads(1)
    device = named_device(name)
    if device.type == "cpu":
        use_cores(1)
    models = Models.of(recipe, device)
    for turn in range(2):
        if turn:
            _at_once.wait()
        stages, began = Stages(device), time.perf_counter()
        record, _ = run_scene(inputs_of(recipe), recipe, models, stages)
        stages("end", 1, 1)
        seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return WalkSpeed(name, 1, record.view_count, seconds, dict(stages.seconds), peak)


def inputs_of(recipe: Recipe) -> SceneInputs:
    """Return the first scene of a recipe, on a store of its own in memory."""
    store = open_store(f"memory://bench-gpu-{next(_numbers)}", create=True)
    return SceneInputs(read_scene(recipe.scenes[0]), store, recipe.image_height)


class Touched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes that operations read and write, without those that only look at memory in another way."""

    byte_count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.byte_count += sum(one.nbytes for one in _tensors([args, kwargs or {}, out]))
        return out


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list | dict):
        for one in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(one)


def _counts(recipe: Recipe, name: str) -> tuple[int, int]:
    """Return operations and bytes of one walk."""
    models = Models.of(recipe, named_device(name))
    with FlopCounterMode(display=False) as counted, Touched() as touched:  # type: ignore[no-untyped-call]
        run_scene(inputs_of(recipe), recipe, models)
    return int(counted.get_total_flops()), touched.byte_count


def most_of(recipe: Recipe, name: str) -> tuple[float, float]:
    """Return operations and bytes per second of a product of matrices, float32, and of a copy."""
    device = named_device(name)
    side, copied = (_HOST_SIDE, _HOST_COPIED) if device.type == "cpu" else (_SIDE, _COPIED)
    a, b = torch.rand(2, side, side, device=device)
    source, target = torch.zeros(2, copied // 4, device=device)
    return 2 * side**3 / _seconds(lambda: a @ b, device), 2 * copied / _seconds(lambda: target.copy_(source), device)


def _encoder(recipe: Recipe, name: str) -> float:
    """Return views per second of the last operator alone, its images already on the device."""
    device = named_device(name)
    models, inputs = Models.of(recipe, device), inputs_of(recipe)
    with computing_on(device):
        inputs.decode_all(quiet)
        names = [*inputs.views][: MOST_TOGETHER if device.type == "cuda" else 1]
        frames = {one: inputs.frame(one) for one in names}
        return len(frames) / _seconds(lambda: encode_together(models.operators[-1], frames), device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    work()
    _settle(device)
    began = time.perf_counter()
    for _ in range(_REPEATS):
        work()
    _settle(device)
    return (time.perf_counter() - began) / _REPEATS
