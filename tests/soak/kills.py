"""``python -m tests.soak.kills``: kill whatever runs, at random moments, and run again until the run is done.

A round is one run of twenty scenes through Prefect and Ray into a store of its own, started like a user's. Its driver,
workers, GCS, raylet or Prefect server get SIGKILL at moments that a seed decides; a driver that ends is started again.
In the end the table equals that of a run that nobody disturbed, and after every driver nothing of it is left.
"""

import argparse
import datetime
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from lift3d.config import Recipe
from tests.support.isolation import environment_in
from tests.support.runs import canonical_table, small_recipe

GONE_WITHIN_S, LAUNCH_WITHIN_S, MOST_LAUNCHES = 30.0, 900.0, 10
# Killed per round at most, so that a round ends; seconds between kills on average.
MOST_KILLS, BETWEEN_S = 5, 6.0
# How a process of each kind is known by its command line, and how often it is chosen.
KINDS = {"worker": ("ray::(IDLE|SceneWorker)", 3), "driver": ("-m lift3d run", 3), "GCS": ("gcs_server", 1)}
KINDS |= {"raylet": ("raylet/raylet ", 1), "Prefect": ("prefect.server.api.server:create_app", 2)}


@dataclass
class Round:
    """What was killed, the drivers' exit codes, what was still there after each, and whether the table is right."""

    kills: Counter[str] = field(default_factory=Counter)
    codes: list[int] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    slowest_end_s: float = 0.0
    is_equal: bool = False
    seconds: float = 0.0


def recipe(count: int) -> Recipe:
    scenes = [f"procedural:room?seed={seed}&views=6&height=48&width=64" for seed in range(count)]
    return small_recipe(scenes=scenes, operators=["rgb"], lifters=["plane_sweep"])


def clean_table(folder: Path, scenes: int) -> bytes:
    with Driver(folder, recipe(scenes), "clean") as started:
        assert started.process.wait(LAUNCH_WITHIN_S) == 0, (folder / "clean.log").read_text()[-2000:]
    return canonical_table(str(folder / "clean"), recipe(scenes))


class Driver:
    """A driver in a process of its own, and all that descends from it.

    Known by a word in its environment; Ray's workers write their title over theirs, and are known by their parents.
    """

    def __init__(self, folder: Path, what: Recipe, store: str) -> None:
        self.mark = f"{store}-{os.getpid()}-{time.monotonic_ns()}"
        self._known: dict[int, psutil.Process] = {}
        (folder / "recipe.yaml").write_text(what.model_dump_json())
        words = ["run", "--recipe", str(folder / "recipe.yaml"), "--store", str(folder / store), "--workers", "2"]
        settings = environment_in(folder, SOAK_MARK=self.mark, PYTHONPATH=os.environ.get("PYTHONPATH", os.getcwd()))
        with (folder / f"{store}.log").open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lift3d", *words, "--heartbeat-s", "30"], stdout=said, stderr=said, env=settings
            )

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        for one in [self.process, *(process for process, _ in self.family())]:
            with suppress(psutil.Error):
                one.kill()
        self.process.wait()

    def family(self) -> Iterator[tuple[psutil.Process, str]]:
        """Yield the processes of this driver that live, with their command lines."""
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if one.ppid() in self._known or one.environ().get("SOAK_MARK") == self.mark:
                    self._known[one.pid] = one
        for one in list(self._known.values()):
            with suppress(psutil.Error):
                if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                    yield one, f"{one.name()} {' '.join(one.cmdline())}"
                else:
                    del self._known[one.pid]


def disturbed(folder: Path, scenes: int, seed: int, clean: bytes) -> Round:
    """Run until it is done, killing on the way."""
    chance, came, begun, store = random.Random(seed), Round(), time.monotonic(), f"round-{seed}"
    while len(came.codes) < MOST_LAUNCHES and (not came.codes or came.codes[-1] != 0):
        with Driver(folder, recipe(scenes), store) as started:
            try:
                came.codes.append(_killed_at_times(started, chance, came))
            except subprocess.TimeoutExpired:
                came.left.append(f"the driver itself after {LAUNCH_WITHIN_S:.0f} s")
                break
            ended = time.monotonic()
            while (left := [line for _, line in started.family()]) and time.monotonic() < ended + GONE_WITHIN_S:
                time.sleep(0.3)
            came.left += [line[:100] for line in left]
            came.slowest_end_s = max(came.slowest_end_s, time.monotonic() - ended)
    came.is_equal = came.codes[-1] == 0 and canonical_table(str(folder / store), recipe(scenes)) == clean
    came.seconds = time.monotonic() - begun
    return came


def _killed_at_times(started: Driver, chance: random.Random, came: Round) -> int:
    """Kill one process now and then until the driver ends; return its exit code."""
    until = time.monotonic() + LAUNCH_WITHIN_S
    while came.kills.total() < MOST_KILLS:
        try:
            return started.process.wait(min(1 + chance.expovariate(1 / BETWEEN_S), until - time.monotonic()))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until:
                raise
        alive = {
            kind: [one for one, line in started.family() if re.search(word, line)] for kind, (word, _) in KINDS.items()
        }
        kinds = [kind for kind, found in alive.items() if found]
        # Before Ray and Prefect are there, most moments pass.
        if not kinds or (kinds == ["driver"] and chance.random() < 0.9):
            continue
        (kind,) = chance.choices(kinds, [KINDS[kind][1] for kind in kinds])
        try:
            chance.choice(alive[kind]).kill()
            came.kills[kind] += 1
        except psutil.Error:
            pass
    return started.process.wait(max(1.0, until - time.monotonic()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Markdown page to write.")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        clean = clean_table(folder, given.scenes)
        came = []
        for number in range(given.seed, given.seed + given.rounds):
            came.append(disturbed(folder, given.scenes, number, clean))
            sys.stderr.write(f"{number}: {came[-1]}\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = page(came, given.scenes, len(clean))
    sys.stdout.write(text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")
    return int(not all(one.is_equal and not one.left for one in came))


def page(came: list[Round], scenes: int, size: int) -> str:
    killed = sum((one.kills for one in came), Counter[str]())
    right = sum(one.is_equal for one in came)
    lines = [
        "# Killed at random moments",
        "",
        f"*`make kills`, {datetime.date.today().isoformat()}, {os.cpu_count()} cores. {len(came)} runs of {scenes} "
        "scenes by two workers, through Prefect and Ray; SIGKILL for whatever a seed chose, when it chose, and the "
        "same command again when the driver ended.*",
        "",
        f"{killed.total()} kills ({', '.join(f'{count} {kind}' for kind, count in killed.items())}). "
        f"{right} of {len(came)} tables equal that of an undisturbed run, bit for bit ({size:,} bytes). "
        f"Left {GONE_WITHIN_S:.0f} s after a driver had ended: {sum(len(one.left) for one in came)} processes; "
        f"the last was gone after {max(one.slowest_end_s for one in came):.1f} s.",
        "",
        "| seed | killed | exit codes of the drivers | left after 30 s | table equals | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for number, one in enumerate(came):
        kills = ", ".join(f"{count} {kind}" for kind, count in one.kills.items()) or "none"
        left = "; ".join(one.left) or "none"
        codes = ", ".join(map(str, one.codes))
        lines.append(
            f"| {number} | {kills} | {codes} | {left} | {'yes' if one.is_equal else '**NO**'} | {one.seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
