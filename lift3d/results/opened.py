"""What a store holds of lifted scenes: all of a run, or one by its names."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from lift3d.config import Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import ProductMissingError, UnknownNameError
from lift3d.operators.stored_names import is_self_contained
from lift3d.results.lifted_scene import HeldCapture, LiftedScene
from lift3d.runs.own_runs import is_own_run
from lift3d.runs.records import choose_run, list_runs, read_run
from lift3d.runs.table import unique_names
from lift3d.storage.location import Store, open_store


def lifted_scenes(
    store: Store | str | Path, run_id: str | None = None, captures: bool = False, plugins: Sequence[str] = ()
) -> list[LiftedScene]:
    """Return everything that a run lifted: scenes in the recipe's order, their operators, their lifters.

    Args:
        store: The store, or its URL.
        run_id: The run; the latest if None.
        captures: Whether photographs are read where the recipe says that they lie, though another began the run.
        plugins: Plug-ins of the run that may be loaded, and names of its models that name files.

    Raises:
        StoreLayoutError: If there is no store at the URL, or another version wrote it.
        ProductMissingError: If it has no such run, or none.
    """
    opened = store if isinstance(store, Store) else open_store(store)
    return lifted_of(opened, *read_run(opened, choose_run(opened, run_id)), captures, plugins)


def lifted_of(
    store: Store, recipe: Recipe, records: Sequence[SceneRecord], captures: bool = False, plugins: Sequence[str] = ()
) -> list[LiftedScene]:
    """Return everything that the records of a run name: scenes in their order, their operators, their lifters."""
    found = []
    reads_capture, trusted = captures or is_own_run(recipe.run_id), tuple(plugins)
    for name, record in zip(unique_names(records), records, strict=True):
        shared = HeldCapture()
        found += [
            LiftedScene(store, recipe, record, name, *pair, reads_capture, trusted, shared) for pair in record.pairs
        ]
    return found


def open_lifted(
    store: Store | str | Path,
    scene: str | None = None,
    operator: str | None = None,
    lifter: str | None = None,
    run_id: str | None = None,
    captures: bool = False,
    plugins: Sequence[str] = (),
) -> LiftedScene:
    """Return one lifted scene of a store.

    Args:
        store: The store, or its URL: a folder or ``s3://``.
        scene: Name in the run's table; the first that was lifted if None.
        operator: The first of the recipe if None.
        lifter: The last of the recipe if None: it is what a run is for.
        run_id: The run; the latest if None.
        captures: As for ``lifted_scenes``.
        plugins: As for ``lifted_scenes``.

    Raises:
        StoreLayoutError: If there is no store at the URL, or another version wrote it.
        ProductMissingError: If it has no such run, or nothing was lifted in it.
        UnknownNameError: If the run has no such scene, operator or lifter.
    """
    found = lifted_scenes(store, run_id, captures, plugins)
    opened = store if isinstance(store, Store) else open_store(store)
    if not found:
        run = choose_run(opened, run_id)
        others = ", ".join(one for one in list_runs(opened) if one != run)
        raise ProductMissingError(
            f"Nothing was lifted in the run {run} of {opened.url}; why is said by: lift3d status {opened.url}."
            + (f" Its other runs, by --run (in Python run_id): {others}." if others else "")
        )
    for attribute, wanted in (("name", scene), ("operator", operator), ("lifter", lifter)):
        names = list(dict.fromkeys(getattr(one, attribute) for one in found))
        if wanted is None:
            wanted = names[-1] if attribute == "lifter" else names[0]
        elif wanted not in names:
            unknown = UnknownNameError.of("scene" if attribute == "name" else attribute, wanted, names)
            location = found[0].record.location
            # Of what the store names, nothing may become an option of a command that is to be pasted.
            is_known = attribute == "operator" and is_self_contained(wanted) and not location.startswith("-")
            if not is_known or "Did you mean" in str(unknown):
                raise unknown
            asked = shlex.join([location, f"--{attribute}", wanted, "--store", opened.url])
            raise UnknownNameError(f"{unknown} The run has no others; one that has: lift3d run {asked}")
        found = [one for one in found if getattr(one, attribute) == wanted]
    return found[0]
