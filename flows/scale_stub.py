"""A scene that costs nothing: what is left of a run is Prefect, Ray and the store."""

from flows.scene_workers import AttemptScene
from lift3d.config import Execution, Recipe, scene_name
from lift3d.domain.records import SceneRecord
from lift3d.pipeline.inputs import Report
from lift3d.runs.table import scene_record_path
from lift3d.storage.location import Store


def prepare_stub(recipe: Recipe, execution: Execution, store: Store) -> AttemptScene:
    """Return what records a scene as done and does nothing else."""

    def attempt(location: str, report: Report) -> SceneRecord:
        report("stub", 0, 1)
        record = SceneRecord(scene_name(location), location, "ok")
        store.write_bytes(scene_record_path(recipe, location), record.to_bytes())
        return record

    return attempt
