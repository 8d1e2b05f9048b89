"""The entry point of a Ray job: one batch of a run, driven from inside the cluster.

``python -m flows.batch_job STORE RUN BATCH ATTEMPT``: everything else lies in the store, and credentials in the
environment of the cluster's machines. Ends itself when its supervisor lets the lease run out.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from flows.batch_driver import run_batch
from flows.batch_files import BatchFiles
from flows.progress import Listener
from flows.ray_cluster import connect
from lift3d.config import Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import Lift3dError, StoreUnavailableError
from lift3d.runs.table import read_recipe
from lift3d.storage.location import open_store

EXIT_LEASE, EXIT_ERROR = 75, 1
_TELL_EVERY_S = 2.0


class Teller:
    """A listener that writes down what it hears, now and then."""

    def __init__(self, files: BatchFiles, attempt: int) -> None:
        self._files = files
        self._attempt = attempt
        self._finished: list[str] = []
        self._at_work: dict[str, tuple[str, int, int]] = {}
        self._told_at = 0.0

    def on_scene(self, record: SceneRecord) -> None:
        """Note a finished scene."""
        self._finished.append(record.location)
        self._at_work.pop(record.location, None)
        self._tell()

    def on_stage(self, location: str, *stage: Any) -> None:
        """Note what a scene at work does."""
        self._at_work[location] = (stage[0], stage[1], stage[2])
        self._tell()

    def tell(self) -> None:
        """Write down what was heard so far; a store that does not answer only makes it late."""
        self._told_at = time.monotonic()
        with suppress(StoreUnavailableError):
            self._files.write_progress(self._attempt, self._finished, self._at_work)

    def _tell(self) -> None:
        if time.monotonic() - self._told_at > _TELL_EVERY_S:
            self.tell()


def run_job(url: str, run: str, batch: str, attempt: int) -> int:
    """Run a batch and write down how it ended; return the exit code."""
    files = BatchFiles(open_store(url), run, batch)
    teller = Teller(files, attempt)
    try:
        locations, execution = files.read_batch()
        recipe: Recipe = read_recipe(files.store, run)
        threading.Thread(target=_end_with_lease, args=(files, execution.lease_s), daemon=True).start()
        # In a job, "auto" is the cluster that runs it.
        inside = execution.model_copy(update={"ray_address": "auto", "store": url})
        with connect(inside):
            run_batch(locations, recipe, inside, Listener(teller.on_scene, teller.on_stage))
    except Lift3dError as error:
        teller.tell()
        files.write_end(attempt, error)
        sys.stderr.write(f"{error.reason}: {error}\n")
        return EXIT_ERROR
    teller.tell()
    files.write_end(attempt, None)
    return 0


def _end_with_lease(files: BatchFiles, lease_s: float) -> None:
    """End the process when the supervisor has been silent for a lease; its workers are its own and end with it."""
    seen, seen_at = None, time.monotonic()
    while time.monotonic() - seen_at < lease_s:
        time.sleep(lease_s / 4)
        try:
            now = files.lease()
        except Lift3dError:
            continue  # a store that does not answer renews nothing
        if now != seen:
            seen, seen_at = now, time.monotonic()
    sys.stderr.write(f"the supervisor has been silent for {lease_s:g} s; the job ends, what is committed stays\n")
    sys.stderr.flush()
    os._exit(EXIT_LEASE)


if __name__ == "__main__":
    sys.exit(run_job(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
