"""What the two sides of a Ray job tell each other, as small objects in the store beside the run's records.

    runs/RUN/batches/DIGEST/batch.json             scenes and execution, written by the supervisor before it submits
    runs/RUN/batches/DIGEST/lease.json             a number that the supervisor makes larger while it lives
    runs/RUN/batches/DIGEST/progress-ATTEMPT.json  finished scenes and those at work, written by the job
    runs/RUN/batches/DIGEST/ended-ATTEMPT.json     how the job ended: its error, if it has one that concerns all scenes

Neither side compares clocks: a lease counts as renewed when its number changed within the reader's own seconds.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lift3d import errors
from lift3d.config import Execution, parse_execution
from lift3d.domain.keys import digest
from lift3d.errors import Lift3dError, ProductMissingError, WorkerLostError
from lift3d.storage.layout import run_path
from lift3d.storage.location import Store

# Both sides must read what the other wrote; workers of an older release on the cluster do not, and say so.
PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class BatchFiles:
    """The objects of one batch of a run.

    Attributes:
        store: Where they lie.
        run: Id of the run.
        batch: Digest of the batch's scenes.
    """

    store: Store
    run: str
    batch: str

    @classmethod
    def of(cls, store: Store, run: str, locations: Sequence[str]) -> "BatchFiles":
        """Return the files of a batch; the same scenes have the same files, whoever asks."""
        return cls(store, run, digest(list(locations)))

    def write_batch(self, locations: Sequence[str], execution: Execution) -> None:
        """Say what the job is to do."""
        plain = {"protocol": PROTOCOL, "scenes": list(locations), "execution": execution.model_dump(mode="json")}
        self._write("batch", plain)

    def read_batch(self) -> tuple[tuple[str, ...], Execution]:
        """Return what the job is to do.

        Raises:
            ConfigError: If another version of lift3d wrote it.
        """
        found = self._read("batch")
        if found is None:
            raise ProductMissingError(f"Batch {self.batch} of run {self.run} is not in {self.store.url}.")
        if found.get("protocol") != PROTOCOL:
            raise errors.ConfigError(
                f"The batch was written for protocol {found.get('protocol')} and this cluster speaks {PROTOCOL}: "
                "lift3d differs between the flow and the cluster. Use one image for both."
            )
        return tuple(found["scenes"]), parse_execution(found["execution"])

    def renew_lease(self) -> None:
        """Say that the supervisor lives."""
        self._write("lease", {"renewed": time.time_ns()})

    def lease(self) -> Any:
        """Return the number of the last renewal."""
        return self._read("lease")

    def forget(self, attempt: int) -> None:
        """Take away what a job of the same number said: a cluster that lost its jobs counts from 1 again."""
        for name in (f"progress-{attempt}", f"ended-{attempt}"):
            self.store.delete_prefix(self._key(name))

    def write_progress(self, attempt: int, finished: Sequence[str], at_work: dict[str, tuple[str, int, int]]) -> None:
        """Tell how far the job is."""
        self._write(f"progress-{attempt}", {"finished": list(finished), "at_work": at_work})

    def read_progress(self, attempt: int) -> dict[str, Any]:
        """Return how far the job is."""
        return self._read(f"progress-{attempt}") or {"finished": [], "at_work": {}}

    def write_end(self, attempt: int, error: Lift3dError | None) -> None:
        """Say how the job ended."""
        said = {"kind": type(error).__name__, "message": str(error)} if error is not None else None
        self._write(f"ended-{attempt}", {"error": said})

    def read_end(self, attempt: int) -> Lift3dError | None:
        """Return the error that the job ended with; a job that could not even say how is a lost worker."""
        found = self._read(f"ended-{attempt}")
        if found is None:
            return WorkerLostError(f"Attempt {attempt} of batch {self.batch} ended without a word. Look at its logs.")
        if found["error"] is None:
            return None
        known = getattr(errors, found["error"]["kind"], Lift3dError)
        error: Lift3dError = known(found["error"]["message"])
        return error

    def _write(self, name: str, content: Any) -> None:
        self.store.write_bytes(self._key(name), json.dumps(content).encode())

    def _read(self, name: str) -> Any:
        try:
            return json.loads(self.store.read_bytes(self._key(name)))
        except ProductMissingError:
            return None

    def _key(self, name: str) -> str:
        return f"{run_path(self.run)}/batches/{self.batch}/{name}.json"
