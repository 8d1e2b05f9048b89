"""Runs as they lie in a store: the recipe, and of each scene a record with its score rows.

    runs/RUN/recipe.json
    runs/RUN/scenes/LOCATION-DIGEST.json      what came of a scene; names the digest of its rows
    runs/RUN/scores/LOCATION-DIGEST.parquet   the rows of that scene, of what failed too: a plain Parquet dataset

Rows are written before the record that names them, so a record never promises what has not been written.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from lift3d.config import Recipe, parse_recipe
from lift3d.domain.keys import digest, digest_bytes, encodable, parse_json
from lift3d.domain.records import SceneRecord
from lift3d.domain.scores import ALL_PIXELS, ScoreRow
from lift3d.errors import ConfigError, DamagedProductError, ProductMissingError
from lift3d.runs.own_runs import remember_run
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.location import Store

# Records are small: waiting for them is all there is to do.
READS_AT_ONCE = 16
# Of a scene without a row there is no file.
_NO_ROWS = digest_bytes(b"")
# Some ten million rows.
_MOST_ROWS_BYTES = 2**30


def begin_run(recipe: Recipe, store: Store) -> str:
    """Record the recipe before anything is computed and return the run's id. Safe to repeat."""
    try:
        read_recipe(store, recipe.run_id)
    except (DamagedProductError, ProductMissingError):
        content = json.dumps(recipe.model_dump(mode="json"), indent=1, sort_keys=True).encode()
        store.write_bytes(_recipe_path(recipe.run_id), content)
    remember_run(recipe.run_id)
    return recipe.run_id


def list_runs(store: Store) -> list[str]:
    """Return the ids of the runs recorded in a store."""
    names = store.names(layout.RUNS_FOLDER)
    return sorted(name for name in names if store.exists(_recipe_path(name)))


def choose_run(store: Store, run_id: str | None = None) -> str:
    """Return the id of a run, which must be there; if None, of the one whose scenes were recorded last.

    One that lifted nothing, such as of a folder that is no scene, hides none that did: it is the one only if all are
    so. ProductMissingError if the store has no such run, or none at all.
    """
    runs = list_runs(store)
    if not runs:
        raise ProductMissingError(
            f"{store.url} holds no run yet. Start one with lift3d run … --store {store.url}, then ask again."
        )
    if run_id is not None and run_id not in runs:
        raise ProductMissingError(f"{store.url} has no run '{run_id}'. It has: {', '.join(runs)}.")
    if run_id is not None or len(runs) == 1:
        return run_id or runs[0]
    latest_first = sorted(runs, key=lambda run: (_last_written(store, run), run), reverse=True)
    return next((run for run in latest_first if _has_lifted(store, run)), latest_first[0])


def _has_lifted(store: Store, run_id: str) -> bool:
    """Whether a scene of a run was lifted; a few records tell, unless all of them failed."""
    keys = store.list(_folder(run_id))
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        for start in range(0, len(keys), READS_AT_ONCE):
            found = pool.map(lambda key: _record_at(store, key), keys[start : start + READS_AT_ONCE])
            if any(record is not None and record.pairs for record in found):
                return True
    return False


def _last_written(store: Store, run_id: str) -> float:
    """Return when a scene of a run was last recorded, by the clock of the store; of a run without any, its recipe."""
    infos = store.entries(_folder(run_id)) or store.entries(_recipe_path(run_id))
    return max((info.modified for info in infos.values()), default=0.0)


def read_recipe(store: Store, run_id: str) -> Recipe:
    """Return a run's recipe; ProductMissingError if there is none, DamagedProductError if it is another one's."""
    key = _recipe_path(run_id)
    try:
        fields = parse_json(store.read_text(key))
        recipe = parse_recipe(fields) if isinstance(fields, dict) else None
    except (ValueError, ConfigError):
        recipe = None
    if recipe is None or recipe.run_id != run_id:
        raise DamagedProductError(
            f"{store.url}/{key} is not the recipe of that run: it was damaged or changed, or another version wrote it. "
            f"Run the same recipe again, which writes it anew, or delete {store.url_of(layout.run_path(run_id))}."
        )
    return recipe


def read_run(store: Store, run_id: str) -> tuple[Recipe, list[SceneRecord]]:
    """Return the recipe of a run and the records of its scenes so far, in the recipe's order."""
    recipe = read_recipe(store, run_id)
    return recipe, read_records(store, recipe, store.list(_folder(run_id)))


def read_records(store: Store, recipe: Recipe, listed: Collection[str]) -> list[SceneRecord]:
    """Return the records among the listed keys, in the recipe's order; one that does not parse is none."""
    present = set(listed)
    locations = [location for location in recipe.scenes if record_path(recipe.run_id, location) in present]
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        found = pool.map(lambda location: read_record(store, recipe.run_id, location), locations)
        return [record for record in found if record is not None]


def read_record(store: Store, run_id: str, location: str) -> SceneRecord | None:
    """Return a run's record of a scene; None if there is none that can be read."""
    return _record_at(store, record_path(run_id, location))


def write_record(store: Store, recipe: Recipe, record: SceneRecord, rows: Iterable[ScoreRow] = ()) -> SceneRecord:
    """Write a scene's rows, if it has any, those without a figure too, then its record; return it as it was written."""
    record = replace(record, scene=encodable(record.scene), reason=encodable(record.reason))
    written = [*rows, *_rows_without_figure(record, recipe)]
    record = replace(record, rows=_NO_ROWS)
    if written:
        from lift3d.tables.row_files import rows_to_parquet  # Arrow is slow to import, and who reads records needs none

        content = rows_to_parquet(written)
        record = replace(record, rows=digest_bytes(content))
        store.write_bytes(rows_path(recipe.run_id, record.location), content)
    store.write_bytes(record_path(recipe.run_id, record.location), record.to_bytes())
    return record


def read_rows(store: Store, run_id: str, record: SceneRecord) -> bytes:
    """Return the file of a scene's rows that its record names, nothing if it names none.

    DamagedProductError if it is gone, or another one.
    """
    if record.rows == _NO_ROWS:
        return b""
    key = rows_path(run_id, record.location)
    try:
        content = store.read_bytes(key, 0, _MOST_ROWS_BYTES)
    except ProductMissingError:
        content = b""
    if digest_bytes(content) != record.rows:
        what = "is not what was written" if content else "is gone"
        raise damaged_rows(store, run_id, record, what)
    return content


def damaged_rows(store: Store, run_id: str, record: SceneRecord, what: str) -> DamagedProductError:
    """Return the error of a scene whose score rows are not what they should be; ``what`` ends the sentence."""
    return DamagedProductError(
        f"The score rows of '{record.location}' cannot be read: {store.url}/{rows_path(run_id, record.location)} "
        f"{what}. Run the same recipe again: it scores that scene anew and computes nothing else."
    )


def standing_record(store: Store, recipe: Recipe, location: str, inputs: str) -> SceneRecord | None:
    """Return a scene's record if the scene is done for the inputs of now and everything the record names is there.

    Rows are read, for tables are made of them. Of arrays the marker is looked at, no more: that a chunk is gone or
    empty shows when it is read, and ``lift3d fsck`` looks for it without reading.
    """
    record = read_record(store, recipe.run_id, location)
    if record is None or not record.is_ok or record.inputs != inputs:
        return None
    try:
        if any(committed(store, path) is None for path in record.paths):
            return None
        read_rows(store, recipe.run_id, record)
    except DamagedProductError:
        return None
    return replace(record, computed={})


def recorded(store: Store, run_id: str | None = None) -> Iterator[tuple[str, str, SceneRecord | None]]:
    """Yield run, key and record of every scene of all runs, or of one; None for a record that does not parse."""
    runs = store.names(layout.RUNS_FOLDER)  # one whose recipe is gone, too
    if run_id is not None and run_id not in runs:
        raise ConfigError(f"{store.url} has no run '{run_id}'. It has: {', '.join(runs) or 'none'}.")
    for run in [run_id] if run_id is not None else runs:
        keys = [key for key in store.list(_folder(run)) if key.endswith(".json")]
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            found = pool.map(lambda key: _record_at(store, key), keys)
            yield from ((run, key, record) for key, record in zip(keys, found, strict=True))


def record_path(run_id: str, location: str) -> str:
    """Return where a run keeps its record of a scene."""
    return f"{_folder(run_id)}/{digest(location)}.json"


def rows_path(run_id: str, location: str) -> str:
    """Return where a run keeps the score rows of a scene."""
    return f"{layout.run_path(run_id)}/scores/{digest(location)}.parquet"


def _record_at(store: Store, key: str) -> SceneRecord | None:
    """Return the record of a key; None unless it is that of the scene and the products that its place says."""
    try:
        record = SceneRecord.parsed(store.read_text(key))
    except ProductMissingError:
        return None
    if record is None or not key.endswith(f"/{digest(record.location)}.json"):
        return None
    return record if all(map(layout.is_product, record.paths)) else None


def _recipe_path(run_id: str) -> str:
    return f"{layout.RUNS_FOLDER}/{run_id}/recipe.json"


def _folder(run_id: str) -> str:
    return f"{layout.run_path(run_id)}/scenes"


def _rows_without_figure(record: SceneRecord, recipe: Recipe) -> list[ScoreRow]:
    """Rows of what has no figure: a failed scene, dropped views, lifters that cannot run on the scene."""
    # Files may list a view several times; it has one row.
    dropped = {view.id: f"{view.reason}: {view.message}" for view in reversed(record.dropped)}
    missing = [(view, "", "", "view", sentence) for view, sentence in dropped.items()]
    missing += [("", "", "", "scene", record.reason)] * (not record.is_ok)
    missing += [("", one.operator, one.lifter, "lifter", one.reason) for one in record.lifted if one.reason]
    return [
        ScoreRow(
            run=recipe.run_id,
            scene=record.scene,
            target=target,
            operator=operator,
            lifter=lifter,
            target_mode=recipe.row_target_mode,
            metric=f"usable_{what}",
            protocol=f"{record.protocol}/{ALL_PIXELS}" if record.protocol else "",
            outcome="failed" if what == "scene" else "skipped",
            reason=reason,
        )
        for target, operator, lifter, what, reason in missing
    ]
