"""What is short: room on a disk, memory of a node, folders of a machine."""

import errno
import gc
import os
import shutil
import tempfile
import time
from types import SimpleNamespace

import pytest

import lift3d
from flows import ray_cluster
from flows.ray_cluster import worker_count, worker_memory
from lift3d.config import Execution
from lift3d.errors import ResourcePromiseError
from lift3d.runs import node_memory
from lift3d.runs.collect_garbage import collect_garbage
from lift3d.runs.plan import plan
from lift3d.storage.location import Store, open_store
from lift3d.storage.objects import LocalFiles, MemoryObjects
from tests.support.runs import tiny_rooms

KIND = "9 operations"
GIB = 2**30
HOUR_S = 3600.0


def fill_the_disk(monkeypatch):
    def refuse(self, path, content, is_new=False):
        raise OSError(errno.ENOSPC, "No space left on device", path)

    for kind in (LocalFiles, MemoryObjects):
        monkeypatch.setattr(kind, "write", refuse)


@pytest.mark.outside(
    kind=KIND, case="gc on a full disk", right="what is garbage goes, by the disk's own clock, and nothing else"
)
@pytest.mark.parametrize("age_h", [0.0, 72.0])
def test_garbage_is_collected_where_there_is_no_room(age_h, made, tmp_path, monkeypatch):
    url = str(shutil.copytree(made, tmp_path / "store"))
    left = "scenes/x/features/rgb/all-0123456789abcdef/values/c/0"
    open_store(url).write_bytes(left, b"left")
    begun = time.time() - age_h * HOUR_S
    os.utime(tmp_path / "store" / left, (begun, begun))
    before = set(Store(url).list("runs"))
    fill_the_disk(monkeypatch)
    deleted = collect_garbage(url)
    assert deleted.object_count == (age_h > 48.0)
    assert (tmp_path / "store" / left).exists() == (age_h < 48.0)
    assert set(Store(url).list("runs")) == before


@pytest.mark.outside(kind=KIND, case="gc of a full store without a clock", right="nothing that may be in use goes")
def test_a_full_store_of_another_kind_is_as_old_as_what_was_written_last(monkeypatch):
    store = open_store("memory://full", create=True)
    store.write_bytes("scenes/x/features/rgb/all-0123456789abcdef/values/c/0", b"left")
    fill_the_disk(monkeypatch)
    assert collect_garbage(store.url).object_count == 0


def nodes(*found):
    return SimpleNamespace(
        nodes=lambda: [{"Alive": True, "Resources": {"CPU": cpu, "memory": gib * GIB}} for cpu, gib in found]
    )


@pytest.mark.outside(kind=KIND, case="memory of a node", right="workers of a node together take no more than it has")
@pytest.mark.parametrize(
    ("found", "asked", "count", "gib"),
    [
        # Four cores and 16 GiB, as of infra/ray: four workers, of a fourth each.
        ([(4, 16)], None, 4, 4.0),
        ([(4, 16), (4, 16)], None, 8, 4.0),
        ([(64, 256)], None, 64, 4.0),
        ([(8, 4)], None, 4, 1.0),
        ([(4, 64)], None, 4, 8.0),
        ([(4, 16)], 2, 2, 8.0),
        ([(16, 16)], 32, 32, 1.0),
        # Nobody there yet, of a cluster that grows.
        ([], None, 1, 8.0),
        ([(0, 8)], 8, 8, 8.0),
    ],
)
def test_workers_share_the_memory_of_their_node(found, asked, count, gib, monkeypatch):
    monkeypatch.setattr(ray_cluster, "ray", nodes(*found))
    execution = Execution(store="x", workers=asked)
    assert worker_count(execution, 1000) == count
    assert worker_memory(execution, count) == gib * GIB
    for cores, memory in found:
        assert worker_memory(execution, count) * min(count, cores) <= memory * GIB or not cores


@pytest.mark.outside(kind=KIND, case="memory of this machine", right="the plan holds all workers against it")
def test_a_plan_holds_all_workers_against_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(node_memory, "_LIMITS", (str(tmp_path / "limit"),))
    (tmp_path / "limit").write_text(f"{8 * GIB}\n")
    for workers in (None, 2):
        planned = plan(tiny_rooms(2), Execution(store=str(tmp_path / "store"), workers=workers))
        assert planned.allowed_bytes == int(0.85 * 8 * GIB) // (workers or 1)
    with pytest.raises(ResourcePromiseError, match="fewer --workers"):
        plan(tiny_rooms(50), Execution(store=str(tmp_path / "store"), workers=40))


@pytest.mark.outside(
    kind=KIND, case="lift() without a store", right="its folder goes with what was lifted, and not before"
)
def test_the_folder_of_a_lift_goes_with_what_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def folders():
        gc.collect()
        return {*tmp_path.glob("lift3d-*")}

    lifted = lift3d.lift("procedural:room?views=3&height=24&width=32", "rgb", image_height=24, sources=2)
    (own,) = folders()
    data = lifted.to_xarray()
    del lifted
    # Read later than it is held: arrays are lazy.
    assert own in folders()
    assert float(data["features_0"].mean()) > 0
    del data
    # Threads that read it let go of it a moment after they have answered.
    deadline = time.monotonic() + 10
    while folders() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert folders() == set()
