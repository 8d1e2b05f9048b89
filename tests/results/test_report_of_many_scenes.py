"""Runs of more scenes than one page draws: a wall of them, the worst first, and a page for each."""

import pytest

from lift3d.domain.records import RAW2D, SceneRecord
from lift3d.report.leaderboard import write_leaderboard
from lift3d.report.scenes import ReportExtent
from lift3d.report.write import write_report
from lift3d.results.scores.leaderboard import leaderboard
from lift3d.runs.records import write_record
from tests.results.report_reader import figures, read_page
from tests.support.browser import opened_page
from tests.tables import fake_runs
from tests.tables.score_rows import score_row

COUNT = 12


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The report of a run of twelve scenes without pictures, whose last one has no figure of disagreement."""
    folder = tmp_path_factory.mktemp("many")
    store, recipe = fake_runs.begin(str(folder / "store"), fake_runs.locations(COUNT))
    for number, location in enumerate(recipe.scenes):
        name = location.rsplit("/", 1)[-1]
        own = {"run": recipe.run_id, "scene": name, "other": "v1"}
        rows = [score_row(**own, metric="psnr")]
        for lifter, value in ((RAW2D, 0.5), ("plane_sweep", 0.05 * ((5 * number) % COUNT))):
            rows += [score_row(**own, lifter=lifter, metric="warp_error_long", value=value)] * (number < COUNT - 1)
            rows += [score_row(**own, lifter=lifter, metric="warp_floor_long", value=0.0)] * (number < COUNT - 1)
        write_record(store, recipe, SceneRecord(name, location, "ok"), rows)
    made = write_report(store.url, ReportExtent(scene_count=4, page_count=10), folder / "report.html")
    return folder, made, read_page(made.content)


def test_the_worst_scenes_come_first_and_each_has_a_page_with_its_own_figures(written):
    folder, made, page = written
    cards = page.all("a", class_="card")
    shares = [float(card.attrs["data-left"] or "nan") for card in cards]
    wanted = sorted((0.1 * ((5 * number) % COUNT) for number in range(COUNT - 1)), reverse=True)[:10]
    assert shares == pytest.approx(wanted)
    assert (made.page_count, "2 more lifted scenes" in page.all(data_hidden_scenes=True)[0].text) == (10, True)
    assert "and 10 scenes in " in made.to_text()
    for card, share in zip(cards, shares, strict=True):
        own = read_page((folder / card.attrs["href"]).read_bytes())
        assert own.all("h1")[0].text == card.attrs["data-card"]
        found = {key[2:]: cell.attrs["data-value"] for key, cell in figures(own).items() if "by scene" in key[0]}
        assert float(found["plane_sweep", "warp_error_long"]) == pytest.approx(0.5 * share)
        assert {one.attrs["href"] for one in own.all("a")} >= {"../report.html"}


WIDE = "[...document.querySelectorAll('table')].filter((one) => one.offsetWidth > one.parentElement.offsetWidth)"


@pytest.mark.cluster
def test_pages_fit_a_phone_ask_nobody_and_leaderboards_are_sorted_by_a_click(written):
    folder, _, page = written
    write_leaderboard(leaderboard([str(folder / "store")]), folder / "board.html")
    places = ["report.html", page.all("a", class_="card")[0].attrs["href"], "board.html"]
    with opened_page(390, 844) as (tab, traffic):
        for place in places:
            tab.goto((folder / place).as_uri())
            tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert tab.evaluate("document.documentElement.scrollWidth") == 390
            assert tab.evaluate(f"{WIDE}.every((one) => getComputedStyle(one.parentElement).overflowX === 'auto')")
        for first in ("plane_sweep", "raw2d"):
            tab.click("th[title^='warp_error_long'] button")
            assert tab.locator("tbody tr").first.locator("td").first.text_content() == first
    assert (traffic.refused, traffic.errors) == ([], [])
