"""Faults of a soak, decided by a digest of the scene: who is hit, by what, and only once. Run by Ray workers."""

import hashlib
import os
import signal
from pathlib import Path
from typing import Literal

from lift3d.errors import StoreUnavailableError

Fault = Literal["none", "killed", "request", "silence", "corrupt"]
# Each kind alike; what is not corrupt must come out as if nothing had happened.
KINDS: tuple[Fault, ...] = ("killed", "request", "silence", "corrupt")


def fault_of(location: str, share: float) -> Fault:
    """Return what happens to a scene if a share of all is hit."""
    number = int.from_bytes(hashlib.sha256(Path(location).name.encode()).digest()[:8], "big") / 2**64
    return KINDS[int(number / share * len(KINDS))] if number < share else "none"


def hit_once(share: float, marks: Path, location: str, done: int) -> None:
    """Let its fault happen to a scene that is lifted, once."""
    fault = fault_of(location, share)
    mark = marks / f"{Path(location).name}-{fault}"
    if fault in ("none", "corrupt") or mark.exists():
        return
    mark.touch()
    if fault == "request":
        raise StoreUnavailableError("the soak took the store away")
    os.kill(os.getpid(), signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
