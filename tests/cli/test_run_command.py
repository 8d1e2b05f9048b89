"""What a run says on the terminal: lines of scenes, the table, failures, the report; and what it never does."""

import io
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lift3d.cli import run as run_command
from lift3d.cli.commands.options import Exit
from lift3d.cli.run import failure_lines, run_and_present, scene_line
from lift3d.cli.tables import render_table
from lift3d.config import Execution
from lift3d.domain.records import SceneRecord, computed_words
from lift3d.errors import Lift3dError
from lift3d.messages import QUIET, at_work, loading
from lift3d.results.scores.tables import LEGEND
from lift3d.runs.driver import failed_record, run_serially
from lift3d.runs.progress import RunProgress, duration
from tests.support.runs import ROOM, small_recipe

FIELDS = {"operators": ["rgb"], "lifters": ["plane_sweep"], "metrics": ["coverage"]}


@pytest.fixture
def unusable(tmp_path):
    folder = tmp_path / "[red]un<b>usable"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def recipe(unusable):
    return small_recipe(scenes=[ROOM, unusable], **FIELDS)


def run(recipe, tmp_path, *, as_json=False):
    return run_and_present(recipe, Execution(store=str(tmp_path / "store")), run_serially, as_json=as_json)


def test_a_run_with_a_failure_ends_with_table_failure_and_places(recipe, tmp_path, capsys):
    assert run(recipe, tmp_path) == Exit.PARTIAL
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    first, second = said.err.splitlines()
    assert first.startswith("✓ 1/2 room-0")
    assert second.startswith("✗ 2/2 [red]un<b>usable: scene-format: No reader recognises")
    # Who reads a log is told what the columns mean, too.
    assert "| raw2d" in said.out
    assert "leave-one-out: every view is answered from the others, never from itself; all: over all" in said.out
    assert LEGEND in said.out
    assert "1 of 2 scenes failed:\n  1 × scene-format, such as [red]un<b>usable: No reader" in said.out
    places = dict(line.split(maxsplit=1) for line in said.out.splitlines()[-4:])
    assert list(places) == ["store", "table", "report", "next"]
    assert places.pop("next").startswith("lift3d view ")
    assert all(Path(place).exists() for place in places.values())
    assert places["report"] == str(tmp_path / "store" / "report.html")


def test_a_report_is_drawn_again_only_where_it_would_differ(tmp_path, monkeypatch, capsys):
    drawn = []

    def write(_, extent, page):
        drawn.append(str(extent.run_id))
        page.write_text(f"Run {extent.run_id}")

    monkeypatch.setattr(run_command, "write_report", write)
    first, other = small_recipe(**FIELDS), small_recipe(**FIELDS, sources=2)
    for recipe in (first, first, other, first):
        assert run(recipe, tmp_path) == Exit.DONE
    assert drawn == [first.run_id, other.run_id, first.run_id]
    # A run of which all was there already is not the latest, which is what the commands below show of themselves.
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next")]
    assert [f"--run {first.run_id}, lift3d tables" in line for line in told] == [False, False, False, True]


def test_programs_get_json_alone_and_no_report(recipe, tmp_path, capsys):
    assert run(recipe, tmp_path, as_json=True) == Exit.PARTIAL
    outcome = json.loads(capsys.readouterr().out)
    assert [scene["outcome"] for scene in outcome["scenes"]] == ["ok", "failed"]
    assert outcome["run"] == recipe.run_id
    assert Path(outcome["table"]).is_file()
    assert not (tmp_path / "store" / "report.html").exists()


def test_a_run_of_failures_only_says_why_and_names_no_table_that_is_none(unusable, tmp_path, capsys):
    assert run(small_recipe(scenes=[unusable], **FIELDS), tmp_path) == Exit.ERROR
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["Nothing was lifted, so there is neither a table nor a report.", "1 of 1 scenes failed:"]
    assert said[-1].endswith(f"lift3d status {tmp_path / 'store'}")
    assert not (tmp_path / "store" / "report.html").exists()
    assert render_table(str(tmp_path / "store"), "md", None, None).startswith(b"No scene of ")


@pytest.mark.parametrize(
    ("store", "trouble", "said"),
    [
        ("{}", Lift3dError("a [page] broke"), "could not be drawn (a [page] broke); lift3d report"),
        ("{}", OSError("no space"), "could not be drawn (no space)"),
        ("{}", KeyboardInterrupt(), "left out; lift3d report"),
        # Of a store that is no folder a report is not drawn unasked.
        ("memory://present-run", AssertionError(), ""),
    ],
)
def test_a_report_that_fails_or_is_stopped_costs_a_run_nothing(store, trouble, said, tmp_path, capsys, monkeypatch):
    def broken(*_):
        raise trouble

    monkeypatch.setattr(run_command, "write_report", broken)
    execution = Execution(store=store.format(tmp_path / "store"))
    assert run_and_present(small_recipe(**FIELDS), execution, run_serially, as_json=False) == Exit.DONE
    out = capsys.readouterr().out
    assert said in out if said else "report" not in out


def test_what_was_computed_is_counted_in_words():
    odd = {"lifted": 2, "surfaces": 1, "values of odd clamped to float16": 3}
    assert computed_words({**odd, "features": 15}) == (
        "15 feature maps, 1 surface, 2 lifted products, 3 values of odd clamped to float16"
    )


def test_a_failed_scene_is_one_line_and_says_what_to_do():
    record = failed_record("/captures/[bold]desk", "worker-lost", "It died.\nThrice.\tTry fewer views.")
    line = scene_line(replace(record, is_quarantined=True))
    assert "\n" not in line
    console = Console(file=io.StringIO(), width=200)
    console.print(line, soft_wrap=True)
    assert console.file.getvalue() == (
        "✗ [bold]desk: worker-lost: It died. Thrice. Try fewer views. · given up; --retry-quarantined tries it again\n"
    )


def test_failures_are_counted_by_reason_the_most_frequent_first():
    reasons = (("a", "camera"), ("b", "image"), ("c", "image"))
    failed = [failed_record(f"/a/{name}", code, f"{name} broke " + "x" * 900) for name, code in reasons]
    done = SceneRecord("d", "d", "ok")
    lines = failure_lines([replace(failed[0], is_quarantined=True), *failed[1:], done], "s3://bucket/run")
    assert lines[0] == "3 of 4 scenes failed:"
    assert lines[1].startswith("  2 × image, such as b: b broke")
    assert lines[2].startswith("  1 × camera, such as a: a broke")
    assert all(len(line) < 220 for line in lines)
    assert "lift3d status s3://bucket/run" in lines[3]
    assert lines[4].startswith("1 of them")
    assert failure_lines([done], "runs/x") == []


def progress_of(scene_count):
    return RunProgress(Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None), scene_count)


def drawn_by(progress):
    file = io.StringIO()
    Console(file=file, width=80).print(progress._progress.get_renderable())
    return file.getvalue().splitlines()


def test_progress_fits_a_terminal_of_80_columns_and_names_scene_and_stage():
    with progress_of(12) as progress:
        for number in range(9):
            progress.report(f"scene-{number}: encode timm:vit_small_patch14_dinov2.lvd142m", 1, 10)
        # At most a few scenes at work are shown.
        assert len(drawn_by(progress)) == 1 + 4
        progress.report("garden-" * 20 + ": lift", 3, 10)
        for number in range(9):
            progress.finish_scene(f"captures/scene-{number}")
        shown = drawn_by(progress)
    assert all(len(line) <= 80 for line in shown)
    scenes, garden = shown
    assert "9/12" in scenes
    assert garden.startswith("garden-garden")
    assert " lift " in garden
    assert "3/10" in garden


def test_a_log_is_told_at_times_how_far_a_long_scene_is(monkeypatch):
    now = iter(range(0, 1000, 20))
    monkeypatch.setattr("lift3d.runs.progress.time.monotonic", lambda: next(now))
    told = io.StringIO()
    with RunProgress(Console(file=told), 1) as progress:
        for done in range(4):
            progress.report("desk: lift", done, 9)
    assert told.getvalue() == "desk: lift: 1 of 9\ndesk: lift: 3 of 9\n"


def test_a_terminal_is_told_once_what_one_waits_for_and_nothing_else_is(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    for is_terminal, quiet in ((True, ""), (False, ""), (True, "yes")):
        monkeypatch.setattr(sys.stderr, "isatty", lambda told=is_terminal: told)
        monkeypatch.setenv(QUIET, quiet)
        with at_work("looking"), loading("no.such.module"):
            time.sleep(0.1)
        with loading("lift3d"):
            pass
        said = capsys.readouterr()
        assert ("looking" in said.err) == (is_terminal and not quiet)
        assert "loading" not in said.err + said.out
    # Who has closed it is told nothing.
    monkeypatch.setattr(sys, "stderr", None)
    with at_work("looking"):
        pass


def test_the_bar_of_one_process_belongs_to_the_scene_at_work():
    with progress_of(2) as progress:
        progress.report("lift", 6, 6)
        assert "6/6" in drawn_by(progress)[1]
        progress.finish_scene("procedural:room")
        assert len(drawn_by(progress)) == 1
        progress.report("decode", 0, 6)
        assert "0/6" in drawn_by(progress)[1]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0:00"), (59.6, "1:00"), (425.0, "7:05"), (3600.0, "1:00:00"), (11225.0, "3:07:05")]
)
def test_times_read_as_on_a_clock(seconds, said):
    assert duration(seconds) == said
