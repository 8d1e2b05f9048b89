import json

import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.cli.tables import render_table
from lift3d.errors import Lift3dError
from lift3d.results.scores.run_comparison import compare_runs
from lift3d.runs.status import run_states
from tests.results.report_reader import read_page
from tests.tables import fake_runs


def two_runs(tmp_path, shift=0.0, count=8, prefix="data"):
    """Two runs in two stores; the second lacks the last scene and finds each figure moved."""
    runs = []
    for name, moved, some in (("a", 0.0, count), ("b", shift, count - 1)):
        places = [f"{prefix if name == 'b' else 'data'}/scene-{number}" for number in range(count)]
        store, recipe = fake_runs.begin(str(tmp_path / name), places)
        for number, place in enumerate(places[:some]):
            fake_runs.finish(store, recipe, place, {"psnr": [number + moved, 2 * number + moved], "ssim": [0.5]})
        runs.append(f"{store.url}#{recipe.run_id}")
    return runs


def command(*arguments):
    return CliRunner().invoke(cli.app, ["compare", "/no/store/but/theirs", *arguments])


def lines_of(found):
    return {line["metric"]: line for line in found.to_json()["lines"]}


def test_a_metric_that_fell_is_worse_by_its_direction_and_fails_a_scheduled_comparison(tmp_path):
    a, b = two_runs(tmp_path, shift=-0.5)
    found = lines_of(compare_runs("", a, b))
    assert (found["psnr"]["verdict"], found["ssim"]["verdict"]) == ("worse", "–")
    assert found["psnr"]["difference"] == pytest.approx(-0.5)
    assert (found["psnr"]["unit"], found["psnr"]["scenes"], found["psnr"]["pairs"]) == ("scenes", 7, 14)
    assert (found["psnr"]["only_a"], found["psnr"]["only_b"]) == (0, 0)
    assert command(a, b, "--fail-on-regression").exit_code == cli.Exit.REGRESSION
    for fine in ((a, b), (b, a, "--fail-on-regression"), (a, b, "--fail-on-regression", "--metric", "ssim")):
        assert command(*fine).exit_code == 0
    said = json.loads(command(a, b, "--json").stdout)
    assert (said["has_regression"], said["shared_scenes"], said["only_a"]) == (True, 7, ["scene-7"])


def test_a_run_is_as_good_as_itself_and_several_scenes_come_with_intervals(tmp_path, monkeypatch):
    url, run = two_runs(tmp_path)[0].split("#")
    # Whoever names no store or no runs is told of those that there are, with a command to paste.
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(cli.app, ["tables"]).stderr
    assert f"Which store? Give lift3d tables a folder or a URL. There are stores at {tmp_path / 'a'}" in said
    lacking = CliRunner().invoke(cli.app, ["compare", url, run])
    assert lacking.exit_code == cli.Exit.USAGE
    assert f"  {run}  8 scenes, " in lacking.stderr
    assert f"lift3d compare {url} URL#RUN {run}" in lacking.stderr
    found = compare_runs(url, run, run)
    assert not found.has_regression
    assert set(found.lines["verdict"]) == {"–"}
    assert set(found.lines["difference"]) == {0.0}
    store, recipe = fake_runs.begin(url, [f"data/scene-{number}" for number in range(8)])
    fake_runs.fail(store, recipe, "data/scene-3")
    text = render_table(url, "md", recipe.run_id, None).decode()
    assert "(7/8) [" in text


def test_one_scene_is_compared_over_its_views(tmp_path):
    a, b = two_runs(tmp_path, shift=1.0, count=2)
    found = lines_of(compare_runs("", a, b))["psnr"]
    assert (found["unit"], found["pairs"], found["verdict"]) == ("views", 2, "better")
    assert "2 views" in command(a, b).stdout


def test_scenes_at_other_places_are_joined_by_name_and_that_is_said(tmp_path):
    a, b = two_runs(tmp_path, prefix="elsewhere")
    assert compare_runs("", a, b).shared_count == 7
    assert "7 of them joined by name" in command(a, b).stdout


def test_runs_without_anything_in_common_say_what_they_have(tmp_path):
    a, _ = two_runs(tmp_path)
    store, recipe = fake_runs.begin(str(tmp_path / "c"), ["data/garden"])
    fake_runs.finish(store, recipe, "data/garden", {"psnr": [1.0]})
    for given, said in (
        ((a, recipe.run_id), r"share no scene: scene-0, .* and 3 more against garden"),
        ((a, a, ["miou"]), "share 8 scenes and no figure"),
        (("nothing", a), "has no run 'nothing'"),
    ):
        with pytest.raises(Lift3dError, match=said):
            compare_runs(store.url, *given)


def test_status_counts_what_is_recorded(tmp_path):
    store, recipe = fake_runs.begin(str(tmp_path), fake_runs.locations(6))
    for number, location in enumerate(recipe.scenes[:3]):
        fake_runs.finish(store, recipe, location, {"psnr": [1.0 * number]})
    fake_runs.fail(store, recipe, recipe.scenes[3])
    fake_runs.fail(store, recipe, recipe.scenes[4], is_quarantined=True)
    (state,) = run_states(store.url)
    assert (state.committed, len(state.failed), len(state.quarantined), state.to_do) == (3, 1, 1, 1)
    assert "3 of 6 committed · 1 failed · 1 quarantined · 1 to do" in state.to_text()
    assert "scenes per hour" in state.to_text()


def test_the_page_shows_what_is_printed(tmp_path):
    a, b = two_runs(tmp_path, shift=-0.5)
    assert command(a, b, "--out", str(tmp_path / "page.html")).exit_code == 0
    page = read_page((tmp_path / "page.html").read_bytes())
    shown = {line.all("td")[0].text: line for line in page.all("tr", data_verdict=True)}
    lines = lines_of(compare_runs("", a, b))
    assert {name: line.attrs["data-verdict"] for name, line in shown.items()} == {"PSNR": "worse", "SSIM": "–"}
    for name, line in (("psnr", shown["PSNR"]), ("ssim", shown["SSIM"])):
        assert f"{lines[name]['difference']:+.4f}" in line.text
        assert f"[{lines[name]['low']:+.4f}, {lines[name]['high']:+.4f}]" in line.text
    assert "better in 0, worse in 1," in page.text
