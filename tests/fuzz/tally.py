"""Cases of one kind, one after the other: each held to seconds of CPU and to bytes of memory, and what came of all."""

import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from lift3d.errors import Lift3dError

MIB = 2**20
MOST_BYTES, MOST_SECONDS = 1024 * MIB, 10
# Of one message, in characters.
LONGEST = 4000
# Draws a case, makes it in the block, and gives what to do with it; that returns what came of it in a word or two.
Cases = Callable[[st.DataObject], AbstractContextManager[Callable[[], str]]]
# Puts what cases are made of into a folder.
Kind = Callable[[Path], Cases]


@dataclass
class Tally:
    """How many cases came to what; CPU seconds of all and of the worst; what the worst took beyond what was there."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    worst_seconds: float = 0.0
    worst_bytes: int = 0

    def measure(self, act: Callable[[], str]) -> None:
        # Sets the peak back to what is held now.
        Path("/proc/self/clear_refs").write_text("5")
        held, begun = _held("VmRSS"), time.process_time()
        outcome = act()
        seconds, grown = time.process_time() - begun, _held("VmHWM") - held
        self.outcomes[outcome] += 1
        self.seconds += seconds
        self.worst_seconds = max(self.worst_seconds, seconds)
        self.worst_bytes = max(self.worst_bytes, grown)
        assert seconds < MOST_SECONDS, f"{seconds:.1f} s of CPU"
        assert grown < MOST_BYTES, f"{grown / MIB:.0f} MiB"

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        worst = f"{self.worst_seconds:.1f} s of CPU, {self.worst_bytes / MIB:.0f} MiB at most"
        return f"{self.outcomes.total()} cases ({outcomes}), {worst}"


def tally(kind: Kind, folder: Path, count: int, number: int | None = None) -> Tally:
    """Try so many cases of a kind; always the same without a number to draw by.

    Whatever is no error of our own, lasts or takes too much is raised, as the smallest case that does so.
    """
    cases, found = kind(folder), Tally()

    def attempt(data: st.DataObject) -> None:
        with cases(data) as act:
            found.measure(act)

    drawn = given(st.data())(attempt if number is None else seed(number)(attempt))
    settings(
        max_examples=count, derandomize=number is None, database=None, phases=(Phase.generate, Phase.shrink)
    )(drawn)()  # fmt: skip
    return found


def refused(error: Lift3dError) -> str:
    """Return the outcome of a case that our own error ended; a message nobody reads to its end is a fault."""
    assert len(str(error)) <= LONGEST, f"a message of {len(str(error))} characters"
    return "refused"


def _held(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found.group(1))
