import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.errors import ConfigError
from tests.support.runs import ROOM


def lift3d(*arguments):
    """Run the command line in a process of its own, as a user does."""
    command = [sys.executable, "-c", "from lift3d.cli.app import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with one run, and what the run printed."""
    url = str(tmp_path_factory.mktemp("cli") / "store")
    options = ("--operator", "rgb", "--lifter", "nearest_view", "--image-height", 48, "--sources", 3)
    ran = lift3d("run", ROOM, "/nowhere/gone", *options, "--target-mode", "heldout", "--store", url, "--serial")
    return url, ran


def test_a_run_prints_its_table_and_where_things_lie_and_says_partial(store):
    url, ran = store
    assert ran.returncode == cli.Exit.PARTIAL, ran.stderr
    assert "nearest_view" in ran.stdout
    assert f"store    {url}" in ran.stdout
    assert "contact_sheets" in ran.stdout
    assert "does not exist" in ran.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "No scene given"),
        (("run", ROOM, "--operator", "rbg"), "Did you mean 'rgb'"),
        (("run", ROOM, "--lifter", "plane_swep"), "Did you mean 'plane_sweep'"),
        (("run", ROOM, "--metric", "psnrr"), "psnr"),
        (("run", ROOM, "--holdout", "8", "--leave-one-out"), "Give one of them"),
        (("run", ROOM, "--target-mode", "refine", "--leave-one-out"), "Give one of them"),
        (("run", ROOM, "--sources", "0"), "sources"),
        (("run", ROOM, "--image-height", "0"), "image_height"),
        (("run", ROOM, "--recipe", "/nowhere.yaml"), "/nowhere.yaml"),
        (("run", ROOM, "--store", "ftp://host/x"), "ftp"),
        (("run", ROOM, "--plugin", "no_such_module:thing"), "no_such_module"),
    ],
)
def test_a_wrong_request_is_one_clear_message_and_exit_code_2(arguments, message, tmp_path):
    store = () if "--store" in arguments else ("--store", str(tmp_path / "store"))
    ran = lift3d(*arguments, *(("--serial",) if arguments[0] == "run" else ()), *store)
    assert ran.returncode == cli.Exit.USAGE, ran.stderr
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_store_that_cannot_be_written_is_found_before_any_work(tmp_path):
    occupied = tmp_path / "occupied"
    occupied.write_text("a file where the store's folder should be")
    ran = lift3d("run", ROOM, "--store", occupied, "--serial")
    assert ran.returncode == cli.Exit.ERROR
    assert "Cannot" in ran.stderr
    assert "occupied" in ran.stderr
    assert "Traceback" not in ran.stderr


def in_process(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


def test_tables_come_in_every_format(store, tmp_path):
    url, _ = store
    rows = json.loads(in_process("tables", url, "--format", "json").stdout)
    assert {"run", "scene", "target", "other", "operator", "lifter", "metric", "protocol", "value"} <= set(rows[0])
    assert any(row["outcome"] == "failed" and row["value"] is None and row["reason"] for row in rows)
    out = tmp_path / "rows.parquet"
    assert in_process("tables", url, "--format", "parquet", "--out", out).exit_code == 0
    assert out.read_bytes()[:4] == b"PAR1"
    assert in_process("tables", url, "--format", "csv").stdout.count("\n") == len(rows) + 1
    assert "| rgb" in in_process("tables", url).stdout


def test_intervals_are_paired_over_the_same_views(store):
    url, _ = store
    found = in_process("tables", url, "--compare", "psnr:nearest_view:raw2d").stdout
    assert "nearest_view − raw2d = -" in found
    assert "(6 pairs, 0 missing)" in found


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ((), "refine-all"),
        (("--leave-one-out",), "leave-one-out"),
        (("--holdout", "8"), "heldout-8"),
        (("--holdout", "8", "--target-mode", "refine"), "refine-8"),
        (("--target-mode", "heldout"), "leave-one-out"),
    ],
)
def test_what_is_asked_for_is_the_protocol_that_runs(options, protocol, monkeypatch):
    from lift3d.cli import run as run_command

    seen = []
    monkeypatch.setattr(run_command, "run_and_present", lambda recipe, *_, **__: seen.append(recipe) or 0)
    assert in_process("run", ROOM, "--serial", *options).exit_code == 0
    assert seen[0].protocol == protocol


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "/proc/nowhere/rows.csv"), "Cannot write the table"),
        (("--compare", "psnr:nearest_view:depth_mean"), "the lifters nearest_view, raw2d"),
        (("--compare", "psnr"), "METRIC:LIFTER_A:LIFTER_B"),
    ],
)
def test_a_wrong_request_for_a_table_says_what_there_is(store, options, said):
    url, _ = store
    ran = in_process("tables", url, *options)
    assert isinstance(ran.exception, ConfigError)
    assert said in str(ran.exception)


def test_ctrl_c_says_that_nothing_committed_is_lost(monkeypatch):
    from lift3d.cli import run as run_command

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_command, "run_and_present", interrupted)
    ran = in_process("run", ROOM, "--serial")
    assert ran.exit_code == cli.Exit.INTERRUPTED
    assert "what is committed stays" in ran.stderr


def test_status_counts_scenes(store):
    url, _ = store
    state = json.loads(in_process("status", url, "--json").stdout)[0]
    assert (state["wanted"], state["committed"], len(state["failed"])) == (2, 1, 1)
    said = in_process("status", url).stdout
    assert "1 of 2 committed · 1 failed · 0 to do" in said
    assert "rgb × nearest_view, leave-one-out" in said


def test_the_doctor_finds_this_environment_fit():
    ran = in_process("doctor")
    assert ran.exit_code == 0, ran.stdout
    assert "packages" in ran.stdout
