"""What a run says on the terminal: lines of scenes, the table, failures, the report; and what it never does."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lift3d.cli import run as run_command
from lift3d.cli.commands.options import Exit
from lift3d.cli.run import failure_lines, run_and_present, scene_line, serial
from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import Lift3dError
from lift3d.report.scenes import ReportExtent
from lift3d.runs.driver import failed_record
from lift3d.runs.progress import RunProgress, duration
from tests.support.runs import ROOM, small_recipe

FIELDS: dict[str, Any] = {"operators": ["rgb"], "lifters": ["nearest_view"], "metrics": ["coverage"]}
ESCAPE = "\x1b"


@pytest.fixture
def unusable(tmp_path: Path) -> str:
    folder = tmp_path / "[red]un<b>usable"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def recipe(unusable: str) -> Recipe:
    return small_recipe(scenes=[ROOM, unusable], **FIELDS)


def run(recipe: Recipe, tmp_path: Path, *, as_json: bool = False) -> int:
    return run_and_present(recipe, Execution(store=str(tmp_path / "store")), serial, as_json=as_json)


def test_a_run_with_a_failure_ends_with_table_failure_and_places(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(recipe, tmp_path) == Exit.PARTIAL
    said = capsys.readouterr()
    assert ESCAPE not in said.out + said.err
    first, second = said.err.splitlines()
    assert first.startswith("✓ 1/2 room-0")
    assert second.startswith("✗ 2/2 [red]un<b>usable: scene-format: No reader recognises")
    assert "| raw2d" in said.out
    assert "1 of 2 scenes failed:\n  1 × scene-format, such as [red]un<b>usable: No reader" in said.out
    places = dict(line.split(maxsplit=1) for line in said.out.splitlines()[-4:])
    assert list(places) == ["store", "table", "sheets", "report"]
    assert all(Path(place).exists() for place in places.values())
    assert places["report"] == str(tmp_path / "store" / "report.html")


def test_a_report_is_drawn_again_only_where_it_would_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def write(_: str, extent: ReportExtent, page: Path) -> None:
        drawn.append(str(extent.run_id))
        page.write_text(f"Run {extent.run_id}")

    monkeypatch.setattr(run_command, "write_report", write)
    first, other = small_recipe(**FIELDS), small_recipe(**{**FIELDS, "sources": 2})
    for recipe in (first, first, other, first):
        assert run(recipe, tmp_path) == Exit.DONE
    assert drawn == [first.run_id, other.run_id, first.run_id]


def test_programs_get_json_alone_and_no_report(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(recipe, tmp_path, as_json=True) == Exit.PARTIAL
    outcome = json.loads(capsys.readouterr().out)
    assert [scene["outcome"] for scene in outcome["scenes"]] == ["ok", "failed"]
    assert outcome["run"] == recipe.run_id
    assert Path(outcome["table"]).is_file()
    assert not (tmp_path / "store" / "report.html").exists()


def test_a_run_of_failures_only_says_why_and_still_has_its_report(
    unusable: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(small_recipe(scenes=[unusable], **FIELDS), tmp_path) == Exit.ERROR
    said = capsys.readouterr().out
    assert "1 of 1 scenes failed" in said
    assert (tmp_path / "store" / "report.html").is_file()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (Lift3dError("a [page] broke"), "could not be drawn (a [page] broke); lift3d report"),
        (OSError("no space"), "could not be drawn (no space)"),
        (KeyboardInterrupt(), "left out; lift3d report"),
    ],
)
def test_a_report_that_fails_or_is_stopped_costs_a_run_nothing(
    trouble: BaseException,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(run_command, "write_report", broken)
    assert run(small_recipe(**FIELDS), tmp_path) == Exit.DONE
    assert said in capsys.readouterr().out


def test_of_a_store_that_is_no_folder_the_report_is_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a report of a remote store is not drawn unasked")

    monkeypatch.setattr(run_command, "write_report", never)
    recipe = small_recipe(**FIELDS)
    assert run_and_present(recipe, Execution(store="memory://present-run"), serial, as_json=False) == 0
    assert "report" not in capsys.readouterr().out


def test_a_failed_scene_is_one_line_and_says_what_to_do() -> None:
    record = failed_record("/captures/[bold]desk", "worker-lost", "It died.\nThrice.\tTry fewer views.")
    line = scene_line(replace(record, is_quarantined=True))
    assert "\n" not in line
    console = Console(file=io.StringIO(), width=200)
    console.print(line, soft_wrap=True)
    file: Any = console.file
    assert file.getvalue() == (
        "✗ [bold]desk: worker-lost: It died. Thrice. Try fewer views. · given up; --retry-quarantined tries it again\n"
    )


def test_failures_are_counted_by_reason_the_most_frequent_first() -> None:
    failed = [failed_record(f"/a/{name}", code, f"{name} broke " + "x" * 900) for name, code in REASONS]
    quarantined = replace(failed[0], is_quarantined=True)
    lines = failure_lines([quarantined, *failed[1:], SceneRecord("d", "d", "ok")], "s3://bucket/run")
    assert lines[0] == "3 of 4 scenes failed:"
    assert lines[1].startswith("  2 × image, such as b: b broke")
    assert lines[2].startswith("  1 × camera, such as a: a broke")
    assert all(len(line) < 220 for line in lines)
    assert "lift3d status s3://bucket/run" in lines[3]
    assert lines[4].startswith("1 of them")
    assert failure_lines([SceneRecord("d", "d", "ok")], "runs/x") == []


REASONS = (("a", "camera"), ("b", "image"), ("c", "image"))


def test_progress_is_silent_where_there_is_no_terminal() -> None:
    file = io.StringIO()
    with RunProgress(Console(file=file, force_terminal=False), 2) as progress:
        progress.report("lift", 1, 6)
        progress.finish_scene("procedural:room")
    assert file.getvalue() == ""


def test_progress_fits_a_terminal_of_80_columns_and_names_scene_and_stage() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None, legacy_windows=False)
    long = "/captures/" + "garden-" * 20
    with RunProgress(console, 12) as progress:
        for number in range(9):
            progress.report(f"scene-{number}: encode timm:vit_small_patch14_dinov2.lvd142m", 1, 10)
        progress.report(f"{long.rsplit('/', 1)[-1]}: lift", 3, 10)
        for number in range(9):
            progress.finish_scene(f"captures/scene-{number}")
        shown = _drawn(progress)
    assert all(len(line) <= 80 for line in shown)
    assert len(shown) == 2, "scenes that are finished have no line"
    assert "9/12" in shown[0]
    assert shown[1].startswith("garden-garden")
    assert " lift " in shown[1]
    assert "3/10" in shown[1]


def test_at_most_a_few_scenes_at_work_are_shown() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with RunProgress(console, 100) as progress:
        for number in range(50):
            progress.report(f"scene-{number}: lift", 1, 10)
        assert len(_drawn(progress)) == 1 + 4


def test_the_bar_of_one_process_belongs_to_the_scene_at_work() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with RunProgress(console, 2) as progress:
        progress.report("lift", 6, 6)
        assert "6/6" in _drawn(progress)[1]
        progress.finish_scene("procedural:room")
        assert len(_drawn(progress)) == 1
        progress.report("decode", 0, 6)
        assert "0/6" in _drawn(progress)[1]


def _drawn(progress: RunProgress) -> list[str]:
    """Return the lines that a terminal of 80 columns shows now."""
    file = io.StringIO()
    Console(file=file, width=80).print(progress.renderable)
    return file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0:00"), (59.6, "1:00"), (425.0, "7:05"), (3600.0, "1:00:00"), (11225.0, "3:07:05")]
)
def test_times_read_as_on_a_clock(seconds: float, said: str) -> None:
    assert duration(seconds) == said
