"""Which run of a store is looked at: the one that was named, or the latest."""

from lift3d.errors import ProductMissingError
from lift3d.runs.records import list_runs
from lift3d.storage import layout
from lift3d.storage.location import Store


def choose_run(store: Store, run_id: str | None = None) -> str:
    """Return the id of the run to look at.

    Args:
        store: Where runs lie.
        run_id: The run; the one whose scenes were recorded last if None.

    Raises:
        ProductMissingError: If the store has no such run, or none at all.
    """
    runs = list_runs(store)
    if run_id is not None and run_id not in runs:
        raise ProductMissingError(f"{store.url} has no run '{run_id}'. It has: {', '.join(runs) or 'none'}.")
    if not runs:
        raise ProductMissingError(
            f"{store.url} holds no run yet. Start one with lift3d run … --store {store.url}, then ask again."
        )
    return run_id or max(runs, key=lambda run: (_last_written(store, run), run))


def _last_written(store: Store, run_id: str) -> float:
    """Return when a scene of a run was last recorded, by the clock of the store; of a run without any, its recipe."""
    folder = layout.run_path(run_id)
    infos = store.entries(f"{folder}/scenes") or store.entries(f"{folder}/recipe.json")
    return max((info.modified for info in infos.values()), default=0.0)
