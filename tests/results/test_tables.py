"""Score tables: which figures are best, what is missing, what fits a line, and what a name cannot break."""

import re

import pandas as pd
import pytest

from lift3d.config import Recipe
from lift3d.domain.records import RAW2D
from lift3d.results.scores.protocols import protocols_in_words
from lift3d.results.scores.tables import LEGEND, closing_table, headline_means, overall_table, scene_table
from lift3d.tables.rendering import Table, escaped, to_markdown, to_terminal
from lift3d.tables.schema import ScoreTable
from tests.tables.score_rows import missing_row, score_row

FIGURES = {
    # lifter: cosine (higher is better), warp error (lower), its floor (neither)
    RAW2D: (1.0, 0.30, 0.002),
    "anchored": (0.91, 0.10, 0.001),
    "lift3d": (0.95, 0.1004, 0.003),
    "plane_sweep": (0.95, 0.20, 0.002),
}
METRICS = ("feature_cosine", "warp_error_short", "warp_floor_short")
STRANGE = "a|b\n<script>*_`"


def means(operator: str = "hog", scenes: int = 1) -> pd.DataFrame:
    shared = {"run": "run0", "operator": operator, "target_mode": "heldout", "protocol": "leave-one-out/all"}
    lines = [
        {**shared, "scene": f"room-{scene}", "lifter": lifter, "metric": metric, "mean": value, "ok": 3, "missing": 0}
        for scene in range(scenes)
        for lifter, figures in FIGURES.items()
        for metric, value in zip(METRICS, figures, strict=True)
    ]
    return pd.DataFrame(lines)


def best(table: Table) -> set[tuple[str, str]]:
    return {
        (row.labels[-1], column.key)
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.is_best
    }


def test_best_is_the_best_lifter_ties_included_and_never_worse_than_the_plain_answer_nor_a_floor():
    assert best(scene_table(means())) == {
        # Equal in the digits that are shown.
        ("anchored", "warp_error_short"),
        ("lift3d", "warp_error_short"),
    }
    agreeing = means()
    agreeing.loc[(agreeing["lifter"] == RAW2D) & (agreeing["metric"] == "warp_error_short"), "mean"] = 0.0
    assert best(scene_table(agreeing)) == set()
    noisy = means()
    noisy.loc[(noisy["lifter"] == RAW2D) & (noisy["metric"] == "feature_cosine"), "mean"] = 0.95
    assert best(scene_table(noisy)) > {("lift3d", "feature_cosine"), ("plane_sweep", "feature_cosine")}


def test_each_operator_has_its_own_best_and_one_lifter_alone_is_not_best():
    both = pd.concat([means("hog"), means("rgb").assign(mean=lambda frame: frame["mean"] / 2)])
    assert [sum(cell.is_best for row in rows for cell in row.cells) for _, rows in scene_table(both).groups()] == [2, 2]
    assert best(scene_table(means()[means()["lifter"].isin([RAW2D, "lift3d"])])) == set()


def test_several_scenes_are_told_by_their_means_and_how_many_have_a_figure():
    given = means(scenes=3)
    given.loc[(given["scene"] == "room-0") & (given["lifter"] == "lift3d"), ["mean", "ok"]] = [float("nan"), 0]
    table = closing_table(given)
    assert table.caption == "means over 3 of 3 scenes · run run0 · heldout · leave-one-out/all"
    assert [row.labels for row in table.rows] == [("hog", lifter) for lifter in FIGURES]
    assert [row.cells[0].count for row in table.rows] == ["", "", "2/3", ""]
    assert not any(cell.spread for row in table.rows for cell in row.cells)
    with_intervals = overall_table(given)
    assert with_intervals.rows[1].cells[-1].spread == "[0.910, 0.910]"
    assert closing_table(means()).caption == "room-0 · run run0 · heldout · leave-one-out/all"
    assert not closing_table(means().assign(mean=float("nan"), ok=0, missing=3)).rows


def test_a_scene_without_a_figure_has_a_line_and_a_view_that_failed_has_none():
    whole = {"operator": "", "lifter": "", "target": "", "protocol": ""}
    rows = [
        score_row(scene="good", metric="psnr", value=0.25, protocol="x/all"),
        score_row(scene="good", metric="psnr", value=9.0, protocol="x/common"),
        missing_row(scene="good", metric="psnr", target="v9", protocol="x/all"),
        missing_row(scene="good", metric="usable_view", **whole),
        missing_row(scene="bad", metric="usable_scene", **whole),
    ]
    found = headline_means([ScoreTable.from_rows(rows)])
    table = scene_table(found)
    assert [(row.labels, row.cells[0].text, row.cells[0].count) for row in table.rows] == [
        (("bad", "", ""), "–", ""),
        (("good", "rgb", "plane_sweep"), "0.250", "1/2"),
    ]
    assert "| bad" in to_markdown(table)
    assert "| 0.250 (1/2) |" in to_markdown(table)


def test_metrics_beyond_the_headline_stand_apart():
    own = means().assign(metric=lambda frame: frame["metric"].replace("warp_floor_short", "own@reference"))
    assert [column.key for column in scene_table(own).columns] == ["warp_error_short", "feature_cosine"]
    assert [column.title for column in scene_table(own, is_usual=False).columns] == ["own @reference"]


@pytest.mark.parametrize("width", [30, 60, 80])
def test_the_text_fits_the_terminal_and_names_what_it_leaves_out(width):
    text = to_terminal(scene_table(means()), width, LEGEND).plain
    assert max(map(len, text.splitlines()[1:])) <= width
    assert text.index("  raw2d") < text.index("  anchored") < text.index("  plane_sweep")
    assert ("Not shown: floor 0–15°." in text) == (width == 30)


def test_the_markdown_is_aligned_and_marks_the_best_in_bold():
    caption, _, head, rule, *rows = to_markdown(scene_table(means())).splitlines()
    assert caption == "room-0 · run run0 · heldout · leave-one-out/all"
    assert head == "| operator | lifter      | warp 0–15° ↓ | floor 0–15° | cos 2D ↑ |"
    assert rule == "| -------- | ----------- | -----------: | ----------: | -------: |"
    assert rows[0] == "| hog      | raw2d       |        0.300 |       0.002 |    1.000 |"
    assert rows[2] == "| hog      | lift3d      |    **0.100** |       0.003 |    0.950 |"


def test_every_protocol_is_told_in_words_and_what_is_none_is_not():
    for asked in (
        {},
        {"holdout": 8},
        {"target_mode": "heldout"},
        {"target_mode": "refine", "holdout": 4},
        {"targets": "x"},
    ):
        name = Recipe(scenes=("a",), **asked).protocol
        assert re.match(rf"{name}: \S.*; all: over all valid pixels\.$", protocols_in_words([f"{name}/all"])), name
    assert protocols_in_words(["", "else/where"]) == ""


def test_a_name_cannot_break_a_table():
    table = scene_table(means(STRANGE))
    assert r"| a\|b &lt;script&gt;\*\_\` | raw2d" in to_markdown(table)
    assert escaped("[x](javascript:1) plane_sweep __bold__") == r"\[x\](javascript:1) plane_sweep \_\_bold\_\_"
