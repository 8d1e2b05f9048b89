"""Faults of a soak, decided by a digest of the scene: who is hit, by what, and only once. Run by Ray workers."""

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from flows.scene_workers import AttemptScene, prepare_scenes
from lift3d.config import Execution, Recipe
from lift3d.errors import StoreUnavailableError
from lift3d.pipeline.inputs import Report
from lift3d.storage.location import Store

Fault = Literal["none", "killed", "request", "silence", "corrupt"]
# Each kind alike; what is not corrupt must come out as if nothing had happened.
KINDS: tuple[Fault, ...] = ("killed", "request", "silence", "corrupt")
MARKS = "soak-marks"


def fault_of(location: str, share: float) -> Fault:
    """Return what happens to a scene if a share of all is hit."""
    number = int.from_bytes(hashlib.sha256(Path(location).name.encode()).digest()[:8], "big") / 2**64
    return KINDS[int(number / share * len(KINDS))] if number < share else "none"


class Faulty:
    """A ``Prepare`` whose workers meet faults, each scene its own, once."""

    def __init__(self, share: float, marks: Path) -> None:
        self._share = share
        self._marks = marks

    def __call__(self, recipe: Recipe, execution: Execution, store: Store) -> AttemptScene:
        """Build the models and return what runs a scene."""
        attempt = prepare_scenes(recipe, execution, store)

        def hit(location: str, report: Report) -> dict[str, Any]:
            fault = fault_of(location, self._share)
            mark = self._marks / f"{Path(location).name}-{fault}"
            if fault in ("none", "corrupt") or mark.exists():
                return attempt(location, report)

            def at_stage(stage: str, done: int, total: int) -> None:
                report(stage, done, total)
                if stage == "lift" and not mark.exists():
                    mark.touch()
                    HITS[fault]()

            return attempt(location, at_stage)

        return hit


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _lose_the_store() -> None:
    raise StoreUnavailableError("the soak took the store away")


def _hang() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


HITS: dict[str, Callable[[], None]] = {"killed": _die, "request": _lose_the_store, "silence": _hang}
