"""A scene that costs nothing: what is left of a run is Prefect, Ray and the store."""

from flows.progress import Manifest
from flows.scene_workers import AttemptScene
from lift3d.config import Execution, Recipe
from lift3d.pipeline.inputs import Report
from lift3d.runs.driver import failed_manifest, to_record
from lift3d.runs.table import scene_record_path
from lift3d.storage.location import Store


def prepare_stub(recipe: Recipe, execution: Execution, store: Store) -> AttemptScene:
    """Return what records a scene as done and does nothing else."""

    def attempt(location: str, report: Report) -> Manifest:
        report("stub", 0, 1)
        manifest = {**failed_manifest(location, "", ""), "outcome": "ok", "reason": "", "inputs": ""}
        store.write_bytes(scene_record_path(recipe, location), to_record(manifest))
        return manifest

    return attempt
