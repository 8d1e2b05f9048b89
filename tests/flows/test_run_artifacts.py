"""What a run shows in the Prefect UI: content that reads, whatever scenes are called, and that costs a run nothing."""

from unittest.mock import Mock

import httpx
import pytest

from flows import run_artifacts
from flows.run_artifacts import RunArtifacts, outcome_rows, outcome_words, progress_words, scores_page
from lift3d.domain.records import SceneRecord
from lift3d.results.scores.tables import closing_table, headline_means
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store
from tests.support.runs import ROOM, run_into, small_recipe

STORE = "s3://results/october"
RECIPE = small_recipe(
    scenes=[ROOM, "/captures/empty"],
    operators=["rgb"],
    lifters=["plane_sweep", "anchored"],
    metrics=["psnr"],
    holdout=3,
)


def scene(name: str, reason: str = "") -> SceneRecord:
    return SceneRecord(name, name, "failed" if reason else "ok", reason)


SCENES = [scene("room"), scene("desk|<b>", "image: 3 of `4` files\ndo not decode. Copy them again."), scene("shelf")]


@pytest.mark.parametrize(
    ("counts", "elapsed_s", "said"),
    [
        ((0, 0), 9.0, "**0 of 2** scenes finished · 0 failed · store `s3://results/october`"),
        ((1, 1), 61.0, "**1 of 2** scenes finished · 1 failed · about 1:01 left · store `s3://results/october`"),
    ],
)
def test_the_bar_says_how_far_the_run_is(counts, elapsed_s, said):
    assert progress_words(RECIPE, STORE, counts, elapsed_s) == said


def test_the_outcomes_list_failures_first_with_their_reasons_on_one_line():
    assert [tuple(row.values()) for row in outcome_rows(SCENES)] == [
        ("desk|<b>", "✗ failed", "image", "3 of `4` files do not decode. Copy them again."),
        ("room", "✓ lifted", "", ""),
        ("shelf", "✓ lifted", "", ""),
    ]
    assert [*outcome_rows(SCENES)[0]] == ["scene", "outcome", "reason", "what happened"]
    words = outcome_words(RECIPE, SCENES, STORE)
    assert words.startswith("**2 of 3** scenes")
    assert f"`lift3d status {STORE}`" in words
    # Of very many the table shows all failures it can, and says that it is cut.
    many = [*(scene(f"good-{number}") for number in range(999)), scene("bad", "camera: no focal length")]
    rows = outcome_rows(many)
    assert len(rows) == 500
    assert rows[0]["scene"] == "bad"
    assert "The first 500" in outcome_words(RECIPE, many, STORE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("artifacts") / "store")
    run_into(url, RECIPE)
    return url


def test_the_page_of_scores_has_pictures_tables_and_the_places(finished):
    table = closing_table(headline_means([run_table(open_store(finished), RECIPE.run_id)]))
    page = scores_page(RECIPE, SCENES, STORE, [table, table], pictures="![](data:)")
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings == ["# 2 of 3 scenes lifted", "## Scores", "## All scores", "## Where everything lies"]
    assert page.index("![](data:)") < page.index("## All scores")
    page = page[page.index("## All scores") :]
    assert "| rgb      | anchored    |" in page
    # Of what is held out, the plain answer is the photograph itself: nothing is better.
    assert "**" not in page
    for place in (f"`{STORE}`", f"`{STORE}/runs/{RECIPE.run_id}/scores/`", f"`lift3d report {STORE} --run "):
        assert place in page


def test_a_table_that_cannot_be_made_is_said_and_the_places_stand():
    page = scores_page(RECIPE, [scene("room")], "s3://a|`b", [], "scores/<x> are gone")
    assert "The table could not be made: scores/&lt;x&gt; are gone" in page
    assert "## Where everything lies\n\n- store: `s3://a%7C'b`" in page


@pytest.fixture
def prefect(monkeypatch):
    """Stand in for Prefect: a mock of every call, by what is done with which kind of artifact."""
    calls = {kind: Mock() for kind in ("create_table", "create_markdown", "create_progress", "update_progress")}
    for kind, call in calls.items():
        monkeypatch.setattr(run_artifacts, f"{kind}_artifact", call)
    return calls


def test_a_run_shows_a_bar_its_outcomes_and_its_scores(finished, prefect):
    shown = RunArtifacts(RECIPE, finished)
    outcomes = [scene("room"), scene("empty", "scene-format: nothing there")]
    for one in outcomes:
        shown.on_scene(one)
    shown.show_end(outcomes, open_store(finished))
    bar, rows, page = (prefect[kind].call_args for kind in ("update_progress", "create_table", "create_markdown"))
    assert bar.args[1] == 100.0
    assert page.args[0].count("](data:image/") >= 4
    assert bar.kwargs["description"].startswith("**2 of 2** scenes finished · 1 failed")
    assert [row["scene"] for row in rows.args[0]] == ["empty", "room"]
    assert "| rgb      | raw2d " in page.args[0]
    assert page.kwargs["description"] == f"Means over **1 of 2** scenes in `{finished}`"


def test_a_store_without_the_run_and_a_server_that_is_silent_cost_nothing_but_the_page(tmp_path, prefect, caplog):
    store = open_store(str(tmp_path / "store"), create=True)
    RunArtifacts(RECIPE, store.url).show_end([scene("room")], store)
    assert "The table could not be made" in prefect["create_markdown"].call_args.args[0]
    for call in prefect.values():
        call.side_effect = httpx.ConnectError("refused")
    shown = RunArtifacts(RECIPE, store.url)
    shown.on_scene(scene("room"))
    shown.show_end([scene("room")], store)
    assert "the run goes on without its artifacts" in caplog.text
