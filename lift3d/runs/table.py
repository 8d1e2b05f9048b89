"""The table of a run: made of the records of its scenes and their score documents, kept in files of scenes and parts.

    runs/RUN/scenes/LOCATION-DIGEST.json      the record of a scene; with the score documents it names, the truth
    runs/RUN/tables/LOCATION-DIGEST.parquet   its rows, written by its worker
    runs/RUN/dataset/part-N.parquet           the rows of as many scenes as follow each other in the recipe
    runs/RUN/dataset/records.json, parts.json what is known of records, and which of them each part holds

Each file is replaced as a whole. What is missing, damaged or older than its record is made again, so it does not matter
where a writer was killed, nor in which order scenes were finished: the same records give the same parts, bit for bit.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from lift3d.config import Recipe, parse_recipe
from lift3d.domain.keys import digest, digest_bytes
from lift3d.domain.records import SceneRecord
from lift3d.errors import DamagedProductError, ProductMissingError
from lift3d.runs.record_index import (
    READS_AT_ONCE,
    dataset_path,
    known_parts,
    known_records,
    read_or_nothing,
    write_cache,
    write_known_parts,
)
from lift3d.runs.scene_rows import scene_rows
from lift3d.storage import layout
from lift3d.storage.location import Store
from lift3d.tables import dataset_table
from lift3d.tables.dataset_table import SCENES_PER_PART, PartEntry
from lift3d.tables.schema import DataFrame, ScoreTable


@dataclass(frozen=True, slots=True)
class Dataset:
    """The table of a run as it lies in the store.

    Attributes:
        recipe: Of the run.
        names: What each scene is called in the table, by location; unique.
        parts: The records that each part is to hold: digest by location, by name of the part, in order.
        known: What the index says of parts.
    """

    recipe: Recipe
    names: dict[str, str]
    parts: dict[str, dict[str, str]]
    known: dict[str, PartEntry]


def read_recipe(store: Store, run_id: str) -> Recipe:
    """Return the recipe of a run.

    Raises:
        ProductMissingError: If the store has no such run.
    """
    return parse_recipe(json.loads(store.read_bytes(f"{layout.run_path(run_id)}/recipe.json")))


def scene_record_path(recipe: Recipe, location: str) -> str:
    """Return where a run keeps its record of a scene."""
    return f"{layout.run_path(recipe.run_id)}/scenes/{digest(location)}.json"


def scene_table_path(recipe: Recipe, location: str) -> str:
    """Return where a run keeps the rows of a scene."""
    return f"{layout.run_path(recipe.run_id)}/tables/{digest(location)}.parquet"


def read_run(store: Store, run_id: str) -> tuple[Recipe, list[SceneRecord]]:
    """Return the recipe of a run and the records of its scenes so far, in the recipe's order.

    Raises:
        ProductMissingError: If the store has no such run.
    """
    recipe = read_recipe(store, run_id)
    present = set(store.list(f"{layout.run_path(run_id)}/scenes"))
    keys = [key for location in recipe.scenes if (key := scene_record_path(recipe, location)) in present]
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        contents = pool.map(lambda key: read_or_nothing(store, key), keys)
        records = (SceneRecord.parsed(content) for content in contents)
        return recipe, [record for record in records if record is not None]


def list_runs(store: Store) -> list[str]:
    """Return the ids of the runs recorded in a store."""
    names = store.names(layout.RUNS_FOLDER)
    return sorted(name for name in names if store.exists(f"{layout.RUNS_FOLDER}/{name}/recipe.json"))


def run_table(store: Store, run_id: str) -> ScoreTable:
    """Return the score table of a run: the rows of its scenes, and a row for everything that failed.

    Raises:
        ProductMissingError: If the store has no such run, or scores that a record names are gone.
    """
    return ScoreTable.joined([*run_parts(store, run_id)])


def run_parts(store: Store, run_id: str) -> Iterator[ScoreTable]:
    """Yield the score table of a run part by part, whole scenes each, so that it need not fit into memory.

    Raises:
        ProductMissingError: If the store has no such run, or scores that a record names are gone.
    """
    return dataset_tables(store, update_dataset(store, run_id))


def update_dataset(store: Store, run_id: str) -> Dataset:
    """Bring the parts of a run's table up to date, reading only records that are new or have changed, and their rows.

    Raises:
        ProductMissingError: If the store has no such run, or scores that a record names are gone.
    """
    recipe = read_recipe(store, run_id)
    dataset = _planned(store, recipe)
    sizes = store.sizes(dataset_path(run_id))
    known = dict(dataset.known)
    try:
        for name, wanted in dataset.parts.items():
            held = known.get(name)
            is_there = held is not None and sizes.get(f"{dataset_path(run_id)}/{name}") == held.size
            if held is not None and is_there and held.records == wanted:
                continue
            content, records = _made(store, dataset, name)
            if not write_cache(store, f"{dataset_path(run_id)}/{name}", content):
                # Nobody gains by parts that cannot be kept: who reads them makes them.
                break
            known[name] = PartEntry(len(content), digest_bytes(content), records)
    finally:
        if known != dataset.known:
            write_known_parts(store, run_id, known)
    return Dataset(recipe, dataset.names, dataset.parts, known)


def dataset_tables(store: Store, dataset: Dataset) -> Iterator[ScoreTable]:
    """Yield the parts as score tables; what is not as the index says is made again of the records."""
    for name in dataset.parts:
        part = _read(store, dataset, name)
        if part is None:
            content, _ = _made(store, dataset, name, is_trusted=False)
            write_cache(store, f"{dataset_path(dataset.recipe.run_id)}/{name}", content)
            part = dataset_table.read_part(content)
        yield dataset_table.named_table(part, dataset.names)


def write_scene_table(store: Store, recipe: Recipe, record: SceneRecord, content: bytes) -> None:
    """Write the rows of a scene beside its record, so that tables of many scenes are made of one read per scene.

    Args:
        store: Where the record was just written.
        recipe: Of the run.
        record: The scene's record.
        content: The record as it was written.
    """
    try:
        table = ScoreTable.from_rows(scene_rows(store, recipe, record))
    except (ProductMissingError, DamagedProductError):
        # The scene is done and recorded; who makes the table meets the damage and says so.
        return
    rows = dataset_table.write_scene_table(table, digest_bytes(content))
    write_cache(store, scene_table_path(recipe, record.location), rows)


def unique_names(records: Iterable[SceneRecord]) -> list[str]:
    """Return a name per scene of a run: its own, with a digest of its location where several have the same."""
    return _told_apart([(record.scene, record.location) for record in records])


def _told_apart(named: Sequence[tuple[str, str]]) -> list[str]:
    count = Counter(name for name, _ in named)
    return [name if count[name] == 1 else f"{name}-{digest(location)[:6]}" for name, location in named]


def _planned(store: Store, recipe: Recipe) -> Dataset:
    """Say which records each part is to hold; a scene's place in the recipe says which part is its."""
    records = known_records(store, recipe.run_id)
    parts: dict[str, dict[str, str]] = {}
    scenes = []
    for place, location in enumerate(recipe.scenes):
        entry = records.get(scene_record_path(recipe, location))
        if entry is not None and entry.outcome != "unreadable":
            parts.setdefault(f"part-{place // SCENES_PER_PART:05d}.parquet", {})[location] = entry.digest
            scenes.append((entry.scene, location))
    names = {location: name for (_, location), name in zip(scenes, _told_apart(scenes), strict=True)}
    return Dataset(recipe, names, parts, known_parts(store, recipe.run_id))


def _read(store: Store, dataset: Dataset, name: str) -> DataFrame | None:
    """Return a part's rows if it is what the index says and holds the right records."""
    held = dataset.known.get(name)
    if held is None or held.records != dataset.parts[name]:
        return None
    return _verified(store, dataset, name)


def _verified(store: Store, dataset: Dataset, name: str) -> DataFrame | None:
    held = dataset.known.get(name)
    content = read_or_nothing(store, f"{dataset_path(dataset.recipe.run_id)}/{name}")
    if held is None or digest_bytes(content) != held.digest:
        return None
    return dataset_table.read_part(content)


def _made(store: Store, dataset: Dataset, name: str, *, is_trusted: bool = True) -> tuple[bytes, dict[str, str]]:
    """Return a part, and the records it holds: rows of records that have not changed come from the part as it was."""
    old = _verified(store, dataset, name) if is_trusted else None
    rows = {} if old is None else dataset_table.rows_by_location(old)
    held = dataset.known[name].records if old is not None else {}
    wanted = dataset.parts[name]
    kept = {location for location, record in wanted.items() if held.get(location) == record and location in rows}
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        changed = [location for location in wanted if location not in kept]
        made = dict(zip(changed, pool.map(lambda one: _scene_table(store, dataset, name, one), changed), strict=True))
    frames = [(one, rows[one] if one in kept else made[one][0].frame) for one in wanted]
    return dataset_table.write_part(frames), {one: wanted[one] if one in kept else made[one][1] for one in wanted}


def _scene_table(store: Store, dataset: Dataset, name: str, location: str) -> tuple[ScoreTable, str]:
    """Return the rows of a scene and the record they are made of, from the scene's own file if that is good."""
    record = dataset.parts[name][location]
    path = scene_table_path(dataset.recipe, location)
    table = dataset_table.read_scene_table(read_or_nothing(store, path), record)
    if table is not None:
        return table, record
    content = store.read_bytes(scene_record_path(dataset.recipe, location))
    found = SceneRecord.parsed(content)
    if found is None:
        raise ProductMissingError(f"The record of '{location}' is damaged. Run the scene again.")
    record = digest_bytes(content)
    rows = scene_rows(store, dataset.recipe, replace(found, location=location))
    table = ScoreTable.from_rows(rows)
    write_cache(store, path, dataset_table.write_scene_table(table, record))
    return table, record
