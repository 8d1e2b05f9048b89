"""One thing about a capture that will hurt: what, in which views, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lift3d.domain.keys import ViewId

FindingKind = Literal[
    "blur",
    "exposure",
    "sizes",
    "masks",
    "few views",
    "missing views",
    "gap",
    "no overlap",
    "rotation only",
    "convention",
    "rolling shutter",
    "focal length",
    "poses",
    "depth",
]
# Names in a line; JSON has all of them.
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """What hurts.

    Attributes:
        kind: Its name, for programs.
        said: What was measured, and beside what.
        remedy: What to do.
        views: The views that it is true of; none if of the capture as a whole.
    """

    kind: FindingKind
    said: str
    remedy: str
    views: tuple[ViewId, ...] = ()

    def __str__(self) -> str:
        names = f" ({some_of(self.views)})" if self.views else ""
        end = "" if self.remedy.endswith("?") else "."
        return f"{self.kind}: {self.said}{names}. {self.remedy}{end}"


def some_of(names: Sequence[str]) -> str:
    """Return the first few of many names, and how many more there are."""
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
