"""The two commands as people use them, on a store with a little of everything."""

import json

import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.domain.keys import digest_bytes
from lift3d.domain.records import LiftedProduct, SceneRecord
from lift3d.errors import ConfigError
from lift3d.runs.records import record_path, rows_path
from lift3d.storage.commit import committed
from lift3d.storage.location import Store, open_store
from tests.support.store_workers import age, write

LIFTED, FEATURES = "scenes/a/lifted/rgb/raw2d/01", "scenes/a/features/rgb/03"
OLD, BEGUN = "scenes/a/lifted/rgb/raw2d/99", "scenes/a/lifted/rgb/raw2d/77"
ALL = {"unfinished": 1, "leftover": 1, "probe": 1}


def command(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


def found_by(*arguments):
    ran = command(*arguments, "--json")
    return ran.exit_code, json.loads(ran.stdout)


RECORD, ROWS = record_path("r1", "a"), rows_path("r1", "a")


def record(store: Store, run: str, scene: str, *lifted: str) -> None:
    product = LiftedProduct("rgb", "raw2d", "01", lifted)
    found = SceneRecord(scene, scene, "ok", lifted=(product,), rows=digest_bytes(b"rows"))
    store.write_bytes(rows_path(run, scene), b"rows")
    store.write_bytes(record_path(run, scene), found.to_bytes())


@pytest.fixture
def store(tmp_path):
    """One finished scene of a run, a product that no run names any more, what dead workers left: a probe, objects."""
    made = open_store(str(tmp_path / "store"), create=True)
    for path in (LIFTED, FEATURES, OLD):
        write(made, path)
    record(made, "r1", "a", LIFTED)
    record(made, "r2", "failed")
    made.write_bytes(f"{BEGUN}/x/c/0", b"half")
    made.write_bytes(f"{LIFTED}/parts/0000.json", b"left")
    made.write_bytes("probe-1/clock", b"now")
    return made


def test_a_whole_store_is_clean(store):
    code, found = found_by("fsck", store.url, "--checksums")
    assert code == 0
    assert found["products"] == {"whole": 3, "uncommitted": 1}
    assert (found["records"], found["leftover_count"], found["leftover_bytes"]) == (2, 2, 8)
    said = command("fsck", store.url).stdout
    assert "whole        3 products" in said
    assert "2 products begun or with leftovers" in said
    assert said.endswith("clean by names and sizes; --checksums reads every byte\n")
    assert command("fsck", store.url, "--checksums").stdout.endswith("\nclean\n")


def test_damage_is_named_and_taken_back(store):
    key = f"{LIFTED}/x/c/0"
    store.write_bytes(key, b"")
    ran = command("fsck", store.url)
    assert ran.exit_code == cli.Exit.ERROR
    assert f"{key} has 0 bytes" in ran.stdout
    assert f"lift3d fsck {store.url} --repair" in ran.stdout
    code, found = found_by("fsck", store.url, "--repair")
    assert (code, found["repaired"], [*found["damage"]]) == (1, [LIFTED], [LIFTED])
    assert committed(store, LIFTED) is None
    code, found = found_by("fsck", store.url)
    assert (code, found["damage"], found["gone"]) == (1, {}, {RECORD: [LIFTED]})
    write(store, LIFTED)
    assert command("fsck", store.url).exit_code == 0


def test_only_what_a_run_rests_on_is_looked_at(store):
    store.write_bytes(f"{OLD}/x/c/0", b"")
    code, found = found_by("fsck", store.url, "--run", "r1")
    assert (code, found["products"], found["leftover_count"]) == (0, {"whole": 1}, 1)
    assert command("fsck", store.url).exit_code == 1
    store.delete_prefix(LIFTED)
    code, found = found_by("fsck", store.url, "--run", "r1")
    assert (code, found["gone"]) == (1, {RECORD: [LIFTED]})
    ran = command("fsck", store.url, "--run", "r9")
    assert isinstance(ran.exception, ConfigError)
    assert "r1, r2" in str(ran.exception)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"lifted": [{}]}', b"\xff"])
def test_a_record_that_cannot_be_read_is_damage_and_so_are_rows(store, content):
    for key in (ROWS, RECORD):
        store.write_bytes(key, content)
        code, found = found_by("fsck", store.url)
        assert (code, [*found["unreadable"]]) == (1, [RECORD])
        assert (ROWS in found["unreadable"][RECORD]) == (key == ROWS)
    assert isinstance(command("gc", store.url, "--unreferenced").exception, ConfigError)


def test_what_is_old_goes_and_what_is_young_or_committed_stays(store):
    assert found_by("gc", store.url)[1]["pieces"] == {}
    assert "nothing that is older than 48 h" in command("gc", store.url).stdout
    age(store, 50)
    assert found_by("gc", store.url, "--dry-run")[1]["pieces"] == ALL
    assert found_by("fsck", store.url)[1]["leftover_count"] == 2
    assert "deleted 1 products that were begun and never finished" in command("gc", store.url).stdout
    assert found_by("gc", store.url)[1]["pieces"] == {}
    assert found_by("fsck", store.url, "--checksums")[1]["products"] == {"whole": 3}
    assert store.names() == ("README.txt", "lift3d.json", "runs", "scenes")


def test_products_that_no_run_names_go_only_when_asked_for_and_old(store):
    assert found_by("gc", store.url, "--unreferenced")[1]["pieces"] == {}
    age(store, 50)
    assert found_by("gc", store.url)[1]["pieces"] == ALL
    assert found_by("gc", store.url, "--unreferenced")[1]["keys"] == [OLD]
    assert [path for path in (LIFTED, FEATURES, OLD) if committed(store, path)] == [LIFTED, FEATURES]
    assert found_by("gc", store.url, "--caches")[1]["keys"] == [FEATURES]
    assert command("fsck", store.url).exit_code == 0


def test_a_lease_in_which_a_worker_may_be_at_work_is_refused_unless_forced(store):
    age(store, 0.1)
    refused = command("gc", store.url, "--older-than", "0.05").exception
    assert isinstance(refused, ConfigError)
    assert "shortest is 1" in str(refused)
    assert found_by("gc", store.url, "--older-than", "0.05", "--force")[1]["pieces"] == ALL
