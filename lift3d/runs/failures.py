"""What failures mean, one rule for serial runs and Ray: foreign exceptions as our own, and when a run is to stop."""

import re
import traceback
from collections import defaultdict

from lift3d.domain.records import SceneRecord
from lift3d.errors import BreakerError, ContractError, Lift3dError, OutOfMemoryError, WorkerLostError

# What CUDA says after which nothing in the process works any more; torch need not be imported to look for it.
_DEVICE_LOST = ("cuda error", "device-side assert", "cublas_status", "cudnn_status")
# What differs from scene to scene in one and the same failure: what is quoted, paths, numbers and digests.
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[/\\]\S*|\b[0-9a-f]{6,}\b|\d+")
# Below that share the failures are those of bad scenes among good ones.
_SHARE = 0.5
_SHOWN = 3


def own_error(error: BaseException, scene: str | None = None) -> Lift3dError:
    """Return what an exception of any class means for the scene that was at work."""
    if isinstance(error, Lift3dError):
        return error
    said = str(error).lower()
    # torch raises its own class, or a RuntimeError that says so in words.
    if isinstance(error, MemoryError) or "out of memory" in said:
        return OutOfMemoryError(
            f"A scene does not fit: {first_line(error)} Lower --image-height or --sources, or use fewer --workers.",
            scene=scene,
        )
    if any(words in said for words in _DEVICE_LOST):
        return WorkerLostError(
            f"The device of a worker failed: {first_line(error)} The worker is replaced; look at the node.", scene=scene
        )
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({frame.filename}, line {frame.lineno})" for frame in frames)
    return ContractError(
        f"{type(error).__name__}: {first_line(error)}{where} This is a defect of an operator, a lifter, a metric or "
        "of lift3d, not of the scene.",
        scene=scene,
    )


def first_line(error: BaseException) -> str:
    """Return the first line of a message as a sentence."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text if text.endswith(".") else f"{text}."


class CircuitBreaker:
    """Counts finished scenes by how they failed; ten thousand failures alike say no more than twenty."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._finished = 0
        self._failed: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)

    def record(self, record: SceneRecord) -> None:
        """Count a scene; BreakerError if as many as are allowed, and at least half of all finished, failed alike."""
        self._finished += 1
        if record.is_ok:
            return
        alike = self._failed[" ".join(_VARIES.sub("…", record.reason).split())]
        alike.append((record.location, record.reason))
        if len(alike) < self._most or len(alike) < _SHARE * self._finished:
            return
        shown = ", ".join(location for location, _ in alike[:_SHOWN])
        raise BreakerError(
            f"{len(alike)} of {self._finished} finished scenes failed alike, so the run was stopped. The first: "
            f"{alike[0][1]} Scenes: {shown} and others. Mend the cause and run again, which tries them again; "
            "or raise --breaker-failures to go on regardless."
        )
