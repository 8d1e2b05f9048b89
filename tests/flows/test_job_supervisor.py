"""What the supervisor of jobs counts over the batches of a run; jobs themselves are in tests/cluster."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows import ray_jobs
from flows.progress import Listener
from lift3d.config import Execution, Recipe
from lift3d.errors import BreakerError
from lift3d.runs.driver import begin_run, failed_record
from lift3d.runs.table import scene_record_path
from lift3d.storage.location import open_store

SCENES = tuple(f"/captures/{number}" for number in range(9))


@pytest.mark.fault(22, "scenes of several jobs fail alike")
def test_scenes_that_fail_alike_in_several_jobs_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor, told = _supervisor(tmp_path, monkeypatch, breaker_failures=5), []
    listener = Listener(lambda record: told.append(record.location))
    supervisor.run_batch(SCENES[:3], listener)
    with pytest.raises(BreakerError, match="5 of 5 finished scenes failed alike"):
        supervisor.run_batch(SCENES[3:], listener)
    assert told == list(SCENES[:5])


def test_scenes_that_an_earlier_run_gave_up_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = _supervisor(tmp_path, monkeypatch, breaker_failures=5, is_quarantined=True)
    assert len(supervisor.run_batch(SCENES, Listener())) == len(SCENES)


def _supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaker_failures: int, **fields: Any
) -> ray_jobs.JobSupervisor:
    """Return one whose jobs end at once, with nothing but failed scenes in the store."""
    monkeypatch.setattr(ray_jobs, "client_of", lambda address: None)
    monkeypatch.setattr(ray_jobs.JobSupervisor, "_run_attempts", lambda *arguments: None)
    recipe = Recipe(scenes=SCENES)
    store = open_store(str(tmp_path / "store"), create=True)
    begin_run(recipe, store)
    for location in SCENES:
        record = replace(failed_record(location, "image", f"'{location}' is no picture"), **fields)
        store.write_bytes(scene_record_path(recipe, location), record.to_bytes())
    execution = Execution(store=store.url, ray_address="http://127.0.0.1:8265", breaker_failures=breaker_failures)
    return ray_jobs.JobSupervisor(recipe, execution, began_at=time.time())
