import json

import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.cli.compare import compare_runs
from lift3d.cli.tables import render_table
from lift3d.errors import ConfigError
from lift3d.runs.status import run_states
from tests.tables import fake_runs


def two_runs(tmp_path, shift, count=8, prefix="data"):
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
    assert command(a, b).exit_code == 0
    assert command(b, a, "--fail-on-regression").exit_code == 0
    assert command(a, b, "--fail-on-regression", "--metric", "ssim").exit_code == 0
    said = json.loads(command(a, b, "--json").stdout)
    assert (said["has_regression"], said["shared_scenes"], said["only_a"]) == (True, 7, ["scene-7"])


def test_a_run_is_as_good_as_itself(tmp_path):
    a, _ = two_runs(tmp_path, shift=0.0)
    url, run = a.split("#")
    found = compare_runs(url, run, run)
    assert not found.has_regression
    assert set(found.lines["verdict"]) == {"–"}
    assert set(found.lines["difference"]) == {0.0}


def test_one_scene_is_compared_over_its_views(tmp_path):
    a, b = two_runs(tmp_path, shift=1.0, count=2)
    found = lines_of(compare_runs("", a, b))
    assert (found["psnr"]["unit"], found["psnr"]["pairs"], found["psnr"]["verdict"]) == ("views", 2, "better")
    assert "2 views" in command(a, b).stdout


def test_scenes_at_other_places_are_joined_by_name_and_that_is_said(tmp_path):
    a, b = two_runs(tmp_path, shift=0.0, prefix="elsewhere")
    assert compare_runs("", a, b).shared_count == 7
    assert "7 of them joined by name" in command(a, b).stdout


def test_runs_without_anything_in_common_say_what_they_have(tmp_path):
    a, _ = two_runs(tmp_path, shift=0.0)
    store, recipe = fake_runs.begin(str(tmp_path / "c"), ["data/garden"])
    fake_runs.finish(store, recipe, "data/garden", {"psnr": [1.0]})
    with pytest.raises(ConfigError, match=r"share no scene: scene-0, .* and 3 more against garden"):
        compare_runs(store.url, a, recipe.run_id)
    with pytest.raises(ConfigError, match="share 8 scenes and no figure"):
        compare_runs("", a, a, ["miou"])
    with pytest.raises(ConfigError, match="has no run 'nothing'"):
        compare_runs(store.url, "nothing", a)


def test_the_table_of_several_scenes_ends_with_intervals(tmp_path):
    a, _ = two_runs(tmp_path, shift=0.0)
    store, recipe = fake_runs.begin(str(tmp_path / "a"), [f"data/scene-{number}" for number in range(8)])
    fake_runs.fail(store, recipe, "data/scene-3")
    text = render_table(a.split("#")[0], "md", recipe.run_id, None).decode()
    assert "(7/8) [" in text
    assert len(render_table(a.split("#")[0], "md", None, None, is_brief=True)) < len(text)


def test_status_counts_what_is_recorded(tmp_path):
    store, recipe = fake_runs.begin(str(tmp_path), fake_runs.locations(6))
    for number, location in enumerate(recipe.scenes[:3]):
        fake_runs.finish(store, recipe, location, {"psnr": [1.0 * number]})
    fake_runs.fail(store, recipe, recipe.scenes[3])
    fake_runs.fail(store, recipe, recipe.scenes[4], is_quarantined=True)
    (state,) = run_states(store.url)
    assert (state.committed, len(state.failed), len(state.quarantined), state.to_do) == (3, 1, 1, 1)
    text = state.to_text()
    assert "3 of 6 committed · 1 failed · 1 quarantined · 1 to do" in text
    assert "scenes per hour" in text
