"""Leaderboards: what is left, beside what it may have been bought by; the same lines on the page and in every file."""

import base64

import pandas as pd
import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.domain.records import RAW2D, SceneRecord
from lift3d.errors import ConfigError
from lift3d.results.scores.leaderboard import leaderboard
from lift3d.runs.records import write_record
from tests.results.report_reader import read_page
from tests.tables import fake_runs
from tests.tables.score_rows import score_row

HOSTILE = "<img src=x onerror=alert(1)>"
# Of each scene: error and floor between distant views, of the plain answers and of two lifters.
FIGURES = {RAW2D: [(0.30, 0.02), (0.20, 0.01)], "anchored": [(0.06, 0.02), (0.05, 0.01)], HOSTILE: [(0.29, 0.02)]}


@pytest.fixture
def stores(tmp_path):
    """Two runs: one of two scenes, in which a lifter has a figure of one only, and one without figures of warps."""
    store, recipe = fake_runs.begin(str(tmp_path / "a"), fake_runs.locations(2))
    for number, location in enumerate(recipe.scenes):
        name = location.rsplit("/", 1)[-1]
        rows = [
            score_row(run=recipe.run_id, scene=name, lifter=lifter, metric=f"warp_{kind}_long", value=value, other="v1")
            for lifter, given in FIGURES.items()
            for kind, value in zip(("error", "floor"), (given[number : number + 1] or [()])[0], strict=False)
        ]
        write_record(store, recipe, SceneRecord(name, location, "ok"), rows)
    other, own = fake_runs.begin(str(tmp_path / "b"), ["data/x"], sources=3)
    fake_runs.finish(other, own, "data/x", {"psnr": [20.0, 30.0]})
    return [store.url, other.url]


def test_a_line_per_operator_lifter_and_run_with_the_share_that_is_left(stores):
    frame = leaderboard(stores).frame.set_index("lifter")
    assert list(frame.index) == ["anchored", HOSTILE, RAW2D, "plane_sweep"]
    left = (0.06 - 0.02 + 0.05 - 0.01) / (0.30 - 0.02 + 0.20 - 0.01)
    assert frame.loc["anchored", "left"] == pytest.approx(left)
    assert frame.loc["anchored", "left_low"] <= left <= frame.loc["anchored", "left_high"]
    assert frame["scenes"].to_dict() == {"anchored": 2, HOSTILE: 1, RAW2D: 2, "plane_sweep": 1}
    assert frame.loc["plane_sweep", "psnr"] == 25.0
    assert [column.key for column in leaderboard(stores).table().columns][2:4] == ["store", "run"]
    assert [column.key for column in leaderboard(stores[:1]).table().columns][2:4] == ["run", "warp_error_long"]
    assert frame["left"].isna().to_dict() == {"anchored": False, HOSTILE: False, RAW2D: True, "plane_sweep": True}


def test_the_page_the_files_and_what_is_printed_have_the_same_lines(stores, tmp_path):
    frame = leaderboard(stores).frame
    for suffix in ("html", "csv", "parquet", "md"):
        done = CliRunner().invoke(cli.app, ["leaderboard", *stores, "--out", str(tmp_path / f"board.{suffix}")])
        assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "board.parquet"), frame, check_dtype=False)
    csv = (tmp_path / "board.csv").read_bytes()
    assert list(pd.read_csv(tmp_path / "board.csv")["left"].round(9)) == pytest.approx(
        frame["left"].round(9), nan_ok=True
    )
    page = read_page((tmp_path / "board.html").read_bytes())
    cells = page.all("td", data_metric="left")
    assert [float(one.attrs["data-value"] or "nan") for one in cells] == pytest.approx(list(frame["left"]), nan_ok=True)
    assert not page.all("img")
    (link,) = page.all("a")
    assert base64.b64decode(link.attrs["href"].partition(",")[2]) == csv
    assert CliRunner().invoke(cli.app, ["leaderboard", *stores]).stdout == (tmp_path / "board.md").read_text()


def test_what_cannot_be_ranked_or_written_is_said(stores, tmp_path):
    done = CliRunner().invoke(cli.app, ["leaderboard", *stores, "--out", str(tmp_path / "board.xlsx")])
    assert isinstance(done.exception, ConfigError)
    assert "expected one that ends in .html, .csv" in str(done.exception)
    store, _ = fake_runs.begin(str(tmp_path / "empty"), ["data/x"])
    with pytest.raises(ConfigError, match="has a figure; lift3d status"):
        leaderboard([store.url])
