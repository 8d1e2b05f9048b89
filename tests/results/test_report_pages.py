import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.domain.records import DroppedView, LiftedProduct, SceneRecord
from lift3d.errors import ConfigError, ProductMissingError, StoreLayoutError
from lift3d.report.gallery import LONGEST_PX, GalleryRow, fitting, thumbnail
from lift3d.report.scenes import ReportExtent
from lift3d.report.write import make_report, write_report
from lift3d.runs.records import choose_run, write_record
from lift3d.runs.status import run_states
from lift3d.storage import layout
from lift3d.storage.location import open_store
from tests.results.report_reader import figures, read_page
from tests.tables import fake_runs
from tests.tables.score_rows import missing_row, score_row

HOSTILE = "<img src=x onerror=alert(1)>&\"'"


def page_of(url, **extent):
    return read_page(make_report(url, ReportExtent(**extent)).content)


def test_an_empty_store_says_how_to_start(tmp_path):
    store = open_store(str(tmp_path / "store"), create=True)
    made = make_report(store.url, ReportExtent())
    page = read_page(made.content)
    assert made.is_readable
    assert "Nothing has been run yet" in page.all("h1")[0].text
    assert all(said in page.text for said in ("lift3d run", "Written with python"))
    fake_runs.begin(store.url, fake_runs.locations(2))
    begun = page_of(store.url).text
    assert all(said in begun for said in ("No scene is finished yet", "2 to do"))
    # Where every lifter was refused, there is no answer, though the scene is done.
    _, recipe = fake_runs.begin(store.url, ["data/plain"], sources=3)
    refused = LiftedProduct("rgb", "anchored", "0", (), "not-aligned: nothing")
    write_record(store, recipe, SceneRecord("plain", "data/plain", "ok", lifted=(refused,)), [])
    said = page_of(store.url, run_id=recipe.run_id).text
    assert "0 of 1 scenes lifted · 0 failed · 1 in which no lifter could run" in said
    assert "No scene was lifted, so there is no figure." in said


def test_a_store_of_another_version_says_so_and_what_to_do(tmp_path):
    store = open_store(str(tmp_path / "store"), create=True)
    store.write_bytes(layout.STORE_FILE, json.dumps({"format": "lift3d-store", "layout": 7}).encode())
    found = CliRunner().invoke(cli.app, ["report", store.url])
    assert found.exit_code == cli.Exit.ERROR
    for said in (found.stdout, read_page((tmp_path / "store/report.html").read_bytes()).text):
        assert "has layout 7; this lift3d reads and writes layout" in said
        assert "Give a new store URL" in said


def test_a_run_of_failures_only_tells_all_reasons_it_has_room_for(tmp_path):
    store, recipe = fake_runs.begin(str(tmp_path / "store"), fake_runs.locations(31))
    for location in recipe.scenes[:30]:
        fake_runs.fail(store, recipe, location, dropped=(DroppedView("v1", "image", "does not decode"),))
    page = page_of(store.url)
    assert "No scene was lifted" in page.text
    assert "0 of 31 scenes lifted · 30 failed · 1 to do" in page.text
    tables = page.all("table", class_="trouble")
    assert [len(table.all("tbody")[0].all("tr")) for table in tables] == [20, 20]
    assert "scene-format: no cameras" in tables[0].text
    assert "image: does not decode" in tables[1].text
    assert page.text.count("… and 10 more") == 2
    assert not figures(page)


def test_names_and_reasons_are_text_wherever_they_stand(tmp_path):
    store, recipe = fake_runs.begin(str(tmp_path / "store"), [f"data/{HOSTILE}", "data/other"])
    texts = {"operator": HOSTILE, "lifter": HOSTILE, "scene": HOSTILE, "run": recipe.run_id}
    rows = [score_row(**texts, target=f"{HOSTILE}{number}", value=0.5 + number) for number in range(3)]
    rows += [
        score_row(**texts, metric=f"own{HOSTILE}"),
        missing_row(**texts, metric="psnr", target="x", reason=HOSTILE),
        missing_row(**texts, metric="lift", target=HOSTILE, reason=HOSTILE),
    ]
    more = {"notes": (HOSTILE,), "dropped": (DroppedView(HOSTILE, HOSTILE, HOSTILE),)}
    write_record(store, recipe, SceneRecord(HOSTILE, recipe.scenes[0], "ok", **more), rows)
    fake_runs.fail(store, recipe, recipe.scenes[1], reason=HOSTILE)
    page = page_of(store.url)
    assert not page.all("img")
    assert not any("onerror" in one.attrs for one in page.walk())
    assert page.text.count(HOSTILE) >= 12
    (psnr,) = [cell for key, cell in figures(page).items() if key[0].endswith("by scene") and key[-1] == "psnr"]
    assert psnr.text == "1.500 3/4"


def test_scenes_beyond_those_asked_for_are_counted(tmp_path):
    store, recipe = fake_runs.begin(str(tmp_path / "store"), fake_runs.locations(12))
    for number, location in enumerate(recipe.scenes):
        fake_runs.finish(store, recipe, location, {"psnr": [float(number)]})
    page = page_of(store.url, scene_count=3)
    assert len(page.all("article")) == 3
    assert page.all(data_hidden_scenes=True)[0].text.startswith("9 more lifted scenes are not shown")
    overall, *_ = figures(page).values()
    assert float(overall.attrs["data-value"]) == pytest.approx(5.5)
    assert page.all("table", class_="worst")[0].all("tbody")[0].all("td", data_value="0.0")
    with pytest.raises(ConfigError, match="1 or more views"):
        ReportExtent(view_count=0)


def test_of_several_runs_the_one_that_was_worked_on_last_is_shown_and_the_others_are_named(tmp_path):
    url = str(tmp_path / "store")
    store, old = fake_runs.begin(url, ["data/a"], sources=3)
    _, new = fake_runs.begin(url, ["data/a"], sources=4)
    for age, recipe in ((100, old), (50, new)):
        fake_runs.finish(store, recipe, "data/a", {"psnr": [1.0]})
        for path in Path(store.url).glob(f"runs/{recipe.run_id}/scenes/*"):
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    made = make_report(url, ReportExtent())
    assert new.run_id in read_page(made.content).all("header")[0].text
    assert made.message == (
        f"The store holds 2 runs; this is {new.run_id}, the latest. Others, by --run: {old.run_id}."
    )
    assert f"run {old.run_id} of" in page_of(url, run_id=old.run_id).all("header")[0].text
    with pytest.raises(ProductMissingError, match=f"no run 'none'.*{min(old.run_id, new.run_id)}"):
        make_report(url, ReportExtent("none"))
    # What lifted something is not hidden by a later run of what is no scene; that one is told of by its status.
    lifted = LiftedProduct("rgb", "anchored", "0", ("scenes/a/lifted/rgb/anchored/all-0",))
    write_record(store, old, SceneRecord("a", "data/a", "ok", lifted=(lifted,)))
    _, empty = fake_runs.begin(url, ["data/empty"])
    fake_runs.fail(store, empty, "data/empty")
    assert choose_run(store) == old.run_id
    assert "no cameras" in next(one.to_text() for one in run_states(url) if one.run == empty.run_id)


def test_the_command_says_where_the_page_lies_and_where_no_store_is_nothing_is_written(tmp_path):
    with pytest.raises(StoreLayoutError, match="There is no lift3d store"):
        write_report(str(tmp_path / "typo"), ReportExtent())
    assert list(tmp_path.iterdir()) == []
    store, recipe = fake_runs.begin(str(tmp_path / "store"), ["data/a"])
    fake_runs.finish(store, recipe, "data/a", {"psnr": [1.0]})
    found = CliRunner().invoke(cli.app, ["report", store.url])
    assert (found.exit_code, found.stdout) == (0, f"report   {tmp_path / 'store/report.html'}\n")
    other = tmp_path / "new" / "page.html"
    assert CliRunner().invoke(cli.app, ["report", store.url, "--out", str(other), "--scenes", "0"]).exit_code == 0
    assert "No scene is drawn" in read_page(other.read_bytes()).text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "store"]
    with pytest.raises(ConfigError, match="Cannot write"):
        write_report(store.url, ReportExtent(), tmp_path / "store/report.html" / "page.html")


def test_no_more_pictures_are_taken_than_there_is_room_for():
    noise = np.random.Generator(np.random.PCG64(0)).random((300, 400, 3)).astype(np.float32)
    one = thumbnail(noise)
    assert (one.width, one.height) == (LONGEST_PX, LONGEST_PX * 3 // 4)
    assert thumbnail(noise[:20, :30]).url.startswith("data:image/png")
    rows = [GalleryRow("a", {"2D": one, "lifted": one})] * 5
    size = 2 * len(one.url)
    assert [len(fitting(rows, room)) for room in (0, size, 3 * size - 1, 9 * size)] == [0, 1, 2, 5]
