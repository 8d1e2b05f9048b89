"""The score table of a run: the rows of its scenes under names that are unique in the run, streamed part by part."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from lift3d.domain.keys import digest
from lift3d.domain.records import SceneRecord
from lift3d.errors import DamagedProductError
from lift3d.runs.records import READS_AT_ONCE, damaged_rows, read_record, read_rows, read_run
from lift3d.storage.location import Store
from lift3d.tables.row_files import arrow_rows, stored_rows
from lift3d.tables.schema import ScoreTable

# Scenes in memory at once. A few hundred rows each take some hundred megabytes.
SCENES_PER_PART = 256


@dataclass(frozen=True)
class RunTable:
    """The rows of a run as they lie in the store: of its scenes so far, in the recipe's order."""

    store: Store
    run_id: str
    records: tuple[SceneRecord, ...]

    @classmethod
    def of(cls, store: Store, run_id: str) -> "RunTable":
        """Read the records of a run."""
        return cls(store, run_id, tuple(read_run(store, run_id)[1]))

    @cached_property
    def names(self) -> dict[str, str]:
        """What each scene is called in the table, by location."""
        return dict(zip((record.location for record in self.records), unique_names(self.records), strict=True))

    def parts(self) -> Iterator[ScoreTable]:
        """Yield the table, whole scenes at a time, so that it need not fit into memory.

        DamagedProductError if the rows of a scene are not those that its record names.
        """
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            for start in range(0, len(self.records), SCENES_PER_PART):
                scenes = list(pool.map(self._rows, self.records[start : start + SCENES_PER_PART]))
                yield ScoreTable(pa.concat_tables(scenes).to_pandas())

    def _rows(self, record: SceneRecord) -> pa.Table:
        try:
            content = read_rows(self.store, self.run_id, record)
        except DamagedProductError:
            # A worker may have finished the scene again since the records were read.
            newer = read_record(self.store, self.run_id, record.location)
            if newer is None or newer.rows == record.rows:
                raise
            content = read_rows(self.store, self.run_id, newer)
        try:
            rows = stored_rows(content) if content else arrow_rows([])
        except ValueError as error:
            raise damaged_rows(self.store, self.run_id, record, f"holds no score rows ({error})") from error
        name = pa.array([self.names[record.location]] * len(rows), pa.string())
        return rows.set_column(rows.column_names.index("scene"), "scene", name)


def run_table(store: Store, run_id: str) -> ScoreTable:
    """Return the score table of a run: the rows of its scenes, and a row for everything that failed."""
    return ScoreTable.joined([*run_parts(store, run_id)])


def run_parts(store: Store, run_id: str) -> Iterator[ScoreTable]:
    """Yield the score table of a run part by part, see ``RunTable.parts``."""
    return RunTable.of(store, run_id).parts()


def unique_names(records: Iterable[SceneRecord]) -> list[str]:
    """Return a name per scene of a run: its own, with a digest of its location where several have the same."""
    named = [(record.scene, record.location) for record in records]
    count = Counter(name for name, _ in named)
    return [name if count[name] == 1 else f"{name}-{digest(location)[:6]}" for name, location in named]
