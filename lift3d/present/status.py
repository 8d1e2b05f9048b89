"""How far the runs of a store are."""

from dataclasses import asdict, dataclass
from typing import Any

from lift3d.runs import list_runs, read_run
from lift3d.storage.location import open_store


@dataclass(frozen=True, slots=True)
class RunState:
    """Counts of one run.

    Attributes:
        run: Run id.
        what: Operators, lifters and protocol of the recipe, in words.
        wanted: Scenes of the recipe.
        committed: Scenes whose products all stand.
        failed: Location and reason of each scene that could not be lifted.
    """

    run: str
    what: str
    wanted: int
    committed: int
    failed: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)

    def to_text(self) -> str:
        """Return one line, and one more per failed scene."""
        waiting = self.wanted - self.committed - len(self.failed)
        counts = f"{self.committed} of {self.wanted} committed · {len(self.failed)} failed · {waiting} to do"
        head = f"{self.run}  {counts}  ({self.what})"
        return "\n".join([head, *(f"  ✗ {location}: {reason}" for location, reason in self.failed)])


def run_states(url: str) -> list[RunState]:
    """Return the state of every run of a store.

    Raises:
        StoreLayoutError: If there is no store at the URL.
    """
    store = open_store(url)
    states = []
    for run_id in list_runs(store):
        recipe, manifests = read_run(store, run_id)
        failed = tuple((one["location"], one["reason"]) for one in manifests if one["outcome"] != "ok")
        what = f"{', '.join(recipe.operators)} × {', '.join(recipe.lifters)}, {recipe.protocol}"
        states.append(RunState(run_id, what, len(recipe.scenes), len(manifests) - len(failed), failed))
    return states
