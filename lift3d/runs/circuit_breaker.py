"""A run whose scenes all fail alike is stopped: ten thousand failures say no more than twenty."""

import re
from collections import defaultdict

from lift3d.domain.records import SceneRecord
from lift3d.errors import BreakerError

# What differs from scene to scene in one and the same failure: what is quoted, paths, numbers and digests.
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[/\\]\S*|\b[0-9a-f]{6,}\b|\d+")
# Below that share the failures are those of bad scenes among good ones.
_SHARE = 0.5
_SHOWN = 3


class CircuitBreaker:
    """Counts finished scenes by how they failed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._finished = 0
        self._failed: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)

    def record(self, record: SceneRecord) -> None:
        """Count a scene.

        Raises:
            BreakerError: If as many as are allowed, and at least half of all finished, failed alike.
        """
        self._finished += 1
        if record.is_ok:
            return
        alike = self._failed[fingerprint(record.reason)]
        alike.append((record.location, record.reason))
        if len(alike) < self._most or len(alike) < _SHARE * self._finished:
            return
        shown = ", ".join(location for location, _ in alike[:_SHOWN])
        raise BreakerError(
            f"{len(alike)} of {self._finished} finished scenes failed alike, so the run was stopped. The first: "
            f"{alike[0][1]} Scenes: {shown} and others. Mend the cause and run again, which tries them again; "
            "or raise --breaker-failures to go on regardless."
        )


def fingerprint(reason: str) -> str:
    """Return what two failures of one kind have in common: the reason without what is particular to a scene."""
    return " ".join(_VARIES.sub("…", reason).split())
