"""How far the runs of a store are: one listing per run, and the records of its scenes, several at once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lift3d.errors import DamagedProductError
from lift3d.runs.records import list_runs, read_recipe, read_records, record_path
from lift3d.storage import layout
from lift3d.storage.location import open_store

# The pace of now, not of a start that waited for machines, nor of the day before a pause.
RECENT = 100
# Failures that are shown one by one; the table has all.
SHOWN = 20


@dataclass(frozen=True, slots=True)
class RunState:
    """Counts of one run: scenes that the recipe wants, committed, failed and given up, each with its reason.

    The pace is that of the last scenes, None if there are too few; ``last_at`` is by the store's clock. ``trouble``
    says why the run cannot be looked at.
    """

    run: str
    what: str = ""
    wanted: int = 0
    committed: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    quarantined: tuple[tuple[str, str], ...] = ()
    scenes_per_hour: float | None = None
    hours_left: float | None = None
    last_at: str | None = None
    trouble: str = ""

    @property
    def to_do(self) -> int:
        """Scenes without a record."""
        return self.wanted - self.committed - len(self.failed) - len(self.quarantined)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {**asdict(self), "to_do": self.to_do}

    def to_text(self) -> str:
        """Return one line, one on the pace of a run that goes on, and one more per failed scene."""
        if self.trouble:
            return f"{self.run}  ✗ {self.trouble}"
        given_up = f"{len(self.quarantined)} quarantined · " if self.quarantined else ""
        counts = (
            f"{self.committed} of {self.wanted} committed · {len(self.failed)} failed · {given_up}{self.to_do} to do"
        )
        lines = [f"{self.run}  {counts}  ({self.what})"]
        if self.to_do and self.scenes_per_hour is not None and self.hours_left is not None:
            pace = f"{self.scenes_per_hour:.0f} scenes per hour, {self.hours_left:.1f} h left at that pace"
            lines.append(f"  {pace} (last scene at {self.last_at})")
        told = [*self.quarantined, *self.failed]
        lines += [f"  ✗ {location}: {reason}" for location, reason in told[:SHOWN]]
        if len(told) > SHOWN:
            lines.append(f"  … and {len(told) - SHOWN} more; lift3d tables --format csv has all")
        return "\n".join(lines)


def run_states(url: str) -> list[RunState]:
    """Return the state of every run of a store."""
    store = open_store(url)
    states = []
    for run_id in list_runs(store):
        try:
            recipe = read_recipe(store, run_id)
        except DamagedProductError as error:
            states.append(RunState(run_id, trouble=str(error)))
            continue
        listed = store.entries(layout.run_path(run_id) + "/scenes")
        done = read_records(store, recipe, listed)
        unlifted = [one for one in done if not one.is_ok]
        times = sorted(listed[record_path(run_id, one.location)].modified for one in done)
        pace = _pace(times)
        states.append(
            RunState(
                run=run_id,
                what=f"{', '.join(recipe.operators)} × {', '.join(recipe.lifters)}, {recipe.protocol}",
                wanted=len(recipe.scenes),
                committed=len(done) - len(unlifted),
                failed=tuple((one.location, one.reason) for one in unlifted if not one.is_quarantined),
                quarantined=tuple((one.location, one.reason) for one in unlifted if one.is_quarantined),
                scenes_per_hour=pace,
                hours_left=(len(recipe.scenes) - len(done)) / pace if pace else None,
                last_at=datetime.fromtimestamp(times[-1], UTC).isoformat(timespec="seconds") if times else None,
            )
        )
    return states


def _pace(times: Sequence[float]) -> float | None:
    """Return scenes per hour over the last of them, from the times of their records in order."""
    recent = times[-RECENT:]
    if len(recent) < 2 or recent[-1] == recent[0]:
        return None
    return 3600 * (len(recent) - 1) / (recent[-1] - recent[0])
