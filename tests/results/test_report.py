import base64
import hashlib
import math
import re
from dataclasses import replace

import pytest

from lift3d.metrics.catalog import BETTER
from lift3d.report import scenes as report_scenes
from lift3d.report import write as report_write
from lift3d.report.comparison import write_comparison
from lift3d.report.scenes import ReportExtent
from lift3d.report.write import make_report
from lift3d.results.picture_rows import COLUMNS
from lift3d.results.scores.answers import answers_of, worst_left
from lift3d.results.scores.run_comparison import compare_runs
from lift3d.results.scores.tables import headline_means
from lift3d.runs.records import write_record
from lift3d.runs.table import run_parts, run_table
from lift3d.storage.commit import remove_product
from lift3d.storage.location import open_store
from lift3d.tables.schema import stacked
from tests.results.report_reader import figures, read_page
from tests.support.runs import ROOM, STREET, run_into, small_recipe
from tests.tables import fake_runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two scenes and one that fails: its store, recipe, records and page."""
    url = str(tmp_path_factory.mktemp("reported") / "store")
    recipe = small_recipe(
        scenes=[ROOM, f"{STREET}&depth=0", "procedural:nowhere"], operators=["rgb", "hog", "tiny:depth"]
    )
    records = run_into(url, recipe)
    return url, recipe, records, read_page(make_report(url, ReportExtent(view_count=4)).content)


@pytest.fixture(scope="module")
def rows(finished):
    url, recipe, _, _ = finished
    frame = run_table(open_store(url), recipe.run_id).frame
    return frame[frame["protocol"].str.endswith("/all") & (frame["lifter"] != "")]


def by_scene(page):
    cells = {}
    for (caption, group, lifter, metric), cell in figures(page).items():
        if "by scene" in caption:
            cells[*group.split(" · "), lifter, metric] = cell
    return cells


def test_every_figure_of_the_page_is_that_of_the_table_and_says_of_how_many(finished, rows):
    cells = by_scene(finished[3])
    shown = {key: cell for key, cell in cells.items() if cell.attrs["data-value"]}
    found = rows.groupby(["scene", "operator", "lifter", "metric"])["value"].agg(["mean", "count", "size"])
    means = found["mean"].dropna()
    assert set(shown) == set(means.index)
    for key, mean in means.items():
        assert float(shown[key].attrs["data-value"]) == pytest.approx(mean, rel=1e-12, abs=1e-15)
        assert shown[key].text.split()[0] == f"{float(shown[key].attrs['data-value']):.3f}"
    counted = {key: count[0].text for key, cell in cells.items() if (count := cell.all("small", class_="count"))}
    # A lifter that cannot run has a row of its own, which is not of a metric.
    counts = found[["count", "size"]].iterrows()
    assert counted == {key: f"{ok}/{size}" for key, (ok, size) in counts if ok < size and key in cells}


def test_a_mean_over_scenes_says_of_how_many(finished, rows):
    cells = {key[1:]: cell for key, cell in figures(finished[3]).items() if key[0].startswith("Means over scenes")}
    scenes = rows.groupby(["operator", "lifter", "metric", "scene"])["value"].mean().dropna()
    for key, cell in cells.items():
        if cell.attrs["data-value"]:
            assert float(cell.attrs["data-value"]) == pytest.approx(scenes[key].mean(), rel=1e-12)
            assert cell.all("small", class_="count")[0].text == f"{len(scenes[key])}/3"
    assert cells["rgb", "plane_sweep", "psnr"].all("small", class_="count")[0].text == "2/3"


def test_the_worst_views_come_first(finished, rows):
    operators = []
    for table in finished[3].all("table", class_="worst"):
        operator, lifter = re.search(r"of (\S+) × (\S+) by", table.all("caption")[0].text).groups()
        operators.append(operator)
        cells = [line.all("td", class_="number")[0] for line in table.all("tbody")[0].all("tr")]
        shown, metric = [float(cell.attrs["data-value"]) for cell in cells], cells[0].attrs["data-metric"]
        own = rows[(rows["operator"] == operator) & (rows["lifter"] == lifter) & (rows["metric"] == metric)]
        assert shown == sorted(own["value"], reverse=BETTER[metric] == "lower")[: min(8, len(own))]
    assert operators == ["hog", "rgb"]


def test_the_page_opens_with_what_is_left_of_disagreement_and_the_same_spots_in_all_views(finished, rows):
    page = finished[3]
    (answer,) = page.all("section", id="answer")
    means = rows.groupby(["operator", "lifter", "metric", "scene"])["value"].mean().groupby(level=[0, 1, 2]).mean()
    told, opened = 0, {}
    drawn = [one for article in page.all("article") for one in article.all(data_answer=True)]
    for one in [one for one in answer.all(data_answer=True) if one not in drawn]:
        operator, lifter = one.attrs["data-answer"].split(" × ")
        # The best lifter has a sentence, the others follow in one more.
        reach = "short" if "neighbouring" in opened.setdefault(operator, one).text else "long"
        assert (opened[operator] is one) == (one.tag == "p")
        both = [
            [means[operator, who, f"warp_{kind}_{reach}"] for kind in ("error", "floor")] for who in (lifter, "raw2d")
        ]
        above = [max(0, error - floor) for error, floor in both]
        is_told = both[1][0] > 1.25 * both[1][1]
        assert (f"{100 * above[0] / above[1]:.0f} %" in one.text) == is_told
        told += is_told
        lead = answer.all("p", class_="lead")[0].text
        assert (f" {100 * above[0] / above[1]:.0f} % with {operator}" in lead) == (is_told and one.tag == "p")
    assert told
    # Before the first picture stand the sentences of one operator, and no more.
    order = [
        one.attrs.get("data-answer", one.tag) for one in answer.walk() if one.tag == "img" or "data-answer" in one.attrs
    ]
    assert {one.split(" × ")[0] for one in order[: order.index("img")]} == {order[0].split(" × ")[0]}
    stops = page.all("div", class_="strip")[0].all("div", class_="stop")
    assert len(stops) == 4
    for stop in stops:
        names = [one.attrs["data-strip"] for one in stop.all("figure")]
        assert names == ["photograph", "2D", "plane_sweep", "anchored"]
        assert len({str([ring.attrs for ring in one.all("circle")]) for one in stop.all("figure")}) == 1
        assert [one.text for one in stop.all("figure")[1].all("text")] == ["1", "2", "3", "4"]
    assert len(page.all("table", class_="spots")[0].all("rect")) == 3 * 4 * 4
    # Operators whose views contradict each other most come first, here as in each scene.
    gaps = means["hog", "raw2d"]["warp_error_short"], means["rgb", "raw2d"]["warp_error_short"]
    assert gaps[0] > gaps[1]
    assert order[0].startswith("hog ")
    for article in page.all("article"):
        assert article.all("section", data_operator=True)[0].attrs["data-operator"] == "hog"
    # A card shows what the best lifter made of the worst operator.
    for card in page.all("a", class_="card"):
        (article,) = page.all("article", data_scene=card.attrs["data-card"])
        best = {one.attrs["data-answer"].split(" × ")[1] for one in article.all("p", data_answer=True)}
        plain, lifted = [one.attrs["alt"].split(", ")[0] for one in card.all("img")]
        assert (plain, lifted in best) == ("2D", True)
    # What colours mean is said of features; pictures mean themselves.
    said = [one.text for one in answer.all("section")]
    assert ["Colours: " in one for one in said] == ["hog" in one for one in said]


def test_what_failed_is_told_with_its_reason(finished):
    page = finished[3]
    headings = [one.text for one in page.all("section", id="failures")[0].all("h3")]
    assert headings[0] == "Scenes that failed: 1"
    assert headings[1].startswith("Lifters that could not run: ")
    trouble = " ".join(table.text for table in page.all("table", class_="trouble"))
    assert "procedural:nowhere" in trouble
    assert "not-aligned" in trouble
    reasons = [line.all("th")[0].text for line in page.all("table", class_="trouble")[-1].all("tbody")[0].all("tr")]
    assert len(reasons) == len({*reasons})


def test_the_gallery_shows_a_few_views_in_all_columns(finished):
    lifters = finished[3].all("details", class_="lifter")
    assert len(lifters) == 2 * 2 * 2
    for one in lifters:
        drawn = one.all(data_row=True)
        assert len(drawn) == 4
        # Only on the surface it is told how sure an answer is.
        for row in drawn:
            assert [cell.attrs["data-column"] for cell in row.all("figure")] in ([*COLUMNS], [*COLUMNS[:-1]])
        (slider,) = one.all("input", data_cut=True)
        assert (slider.attrs["type"], bool(slider.attrs["aria-label"])) == ("range", True)
        assert [choice.text for choice in one.all("option")] == [row.all("h5")[0].text for row in drawn]
        plain, lifted = one.all(data_frames=True)
        names = [image.attrs["alt"].split(", ")[1] for image in plain.all("img")]
        assert names == [f"{number:04d}" for number in range(6)]
        assert names == [image.attrs["alt"].split(", ")[1] for image in lifted.all("img")]
        assert one.all("button", data_play=True)[0].attrs["type"] == "button"


def test_the_page_needs_nothing_else_and_allows_nothing_else(finished):
    page = finished[3]
    for one in page.walk():
        assert not {"style", "srcset"} & set(one.attrs)
        assert not any(name.startswith("on") for name in one.attrs)
        assert one.attrs.get("src", "data:image/").startswith("data:image/")
        assert one.attrs.get("href", "#").startswith("#")
        assert one.tag not in ("link", "iframe", "object", "embed", "form", "base")
    (policy,) = [one.attrs["content"] for one in page.all("meta") if one.attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (only,) = page.all(tag)
        found = base64.b64encode(hashlib.sha256(only.text.encode()).digest()).decode()
        assert f"{rule} 'sha256-{found}'" in policy
        assert "url(" not in only.text
        assert "prefers-reduced-motion" in only.text or tag == "style"


def test_pictures_have_so_much_room_and_the_rest_is_counted(finished, monkeypatch):
    assert "the page is full" not in finished[3].text
    room = 300_000
    monkeypatch.setattr(report_scenes, "PICTURE_BUDGET", room)
    monkeypatch.setattr(report_write, "PICTURE_BUDGET", room)
    content = make_report(finished[0], ReportExtent(finished[1].run_id)).content
    taken = sum(len(one.attrs["src"]) for one in read_page(content).all("img"))
    assert 0 < taken <= room
    assert b"left out, the page is full" in content
    # Beside pictures there is little: 3 scenes of 6 operators are less than six times what is here.
    assert 6 * (len(content) - taken) < 5_000_000


def test_a_damaged_product_costs_its_pictures_and_no_more(finished, tmp_path):
    url = str(tmp_path / "store")
    recipe = small_recipe(operators=["rgb", "hog"], lifters=["plane_sweep"])
    record = run_into(url, recipe)[0]
    gone = {one.operator: one.parts[0] for one in record.lifted if one.lifter == "plane_sweep"}
    remove_product(open_store(url), gone["hog"])
    page = read_page(make_report(url, ReportExtent()).content)
    missing = {
        one.attrs["data-operator"]: "Pictures are missing" in one.text
        for one in page.all("section", data_operator=True)
    }
    assert missing == {"rgb": False, "hog": True}
    assert len(page.all("details", class_="lifter")) == 1
    assert {key[1] for key in by_scene(page)} == {"rgb", "hog"}
    remove_product(open_store(url), gone["rgb"])
    page = read_page(make_report(url, ReportExtent()).content)
    assert ["Pictures are missing" in one.text for one in page.all("section", class_="operator")] == [True, True]


def test_a_capture_that_is_gone_and_has_a_hostile_name_is_shown_from_the_store(finished, tmp_path):
    url, _, records, _ = finished
    name = "</script><script>alert(1)</script>"
    store, other = fake_runs.begin(url, ["data/gone"], operators=("rgb",), image_height=48)
    write_record(store, other, replace(records[0], location="data/gone", scene=name))
    content = make_report(url, ReportExtent(other.run_id)).content
    page = read_page(content)
    assert len(page.all("script")) == 1
    assert page.all("h1")[0].text.endswith(name)
    assert "images cannot be read" in page.text
    columns = {one.attrs["data-column"] for one in page.all("figure", data_column=True)}
    assert columns == {*COLUMNS} - {"image"}


def test_novel_cameras_have_nothing_to_compare_with(tmp_path):
    url = str(tmp_path / "store")
    run_into(url, small_recipe(targets="path:4", operators=["rgb"], lifters=["anchored"]))
    page = read_page(make_report(url, ReportExtent()).content)
    shown = {one.attrs["data-column"] for one in page.all("figure", data_column=True)}
    assert shown == {"lifted", "depth", "coverage", "confidence"}
    assert not page.all(data_compare=True)
    assert len(page.all(data_frames=True)) == 1
    assert not any(math.isnan(float(one.attrs["data-value"] or 0)) for one in page.all("td", data_value=True))


def test_lifters_of_one_run_are_compared_over_the_same_spots(finished, tmp_path):
    url, recipe, _, _ = finished
    runs = [recipe.run_id] * 2
    found = compare_runs(url, *runs, ["rho", "warp_error_short"], lifters=("plane_sweep", "anchored"))
    assert set(found.lines["lifter"]) == {"plane_sweep → anchored"}
    write_comparison(found, tmp_path / "two.html")
    page = read_page((tmp_path / "two.html").read_bytes())
    columns = [one.attrs["data-strip"] for one in page.all("div", class_="stop")[0].all("figure")]
    assert columns == ["photograph", "2D", "A · plane_sweep", "B · anchored"]
    # Over all pixels at once; what is scored by depth here and by tracks there says so, here as in what is printed.
    lines = [one.all("td")[0].text for one in page.all("table", class_="compared")[0].all("tr")[1:]]
    assert sorted({*lines}) == [
        f"{name} leave-one-out/all · {by}" for name in ("warp 0–15°", "ρ") for by in ("depth", "tracks")
    ]
    assert "| scoring_geometry |" in found.to_text()
    against_plain = compare_runs(url, *runs, ["rho"], lifters=("raw2d", "anchored"))
    write_comparison(against_plain, tmp_path / "plain.html")
    page = read_page((tmp_path / "plain.html").read_bytes())
    columns = [one.attrs["data-strip"] for one in page.all("div", class_="stop")[0].all("figure")]
    assert columns == ["photograph", "2D", "B · anchored"]
    across = compare_runs(url, *runs, ["rho"], operators=("rgb", "hog"))
    assert set(across.lines["operator"]) == {"rgb → hog"}


def test_scenes_are_ranked_by_what_their_own_answers_say_is_left(finished):
    url, recipe, _, _ = finished
    known = headline_means(run_parts(open_store(url), recipe.run_id))
    is_plain = (known["operator"] == "rgb") & (known["lifter"] == "raw2d") & (known["metric"] == "warp_error_short")
    itself = known[is_plain].assign(metric="psnr", mean=80.0)
    means = stacked([known[known["metric"] != "psnr"], itself])
    for scene, own in means.groupby("scene"):
        best = {}
        for one in answers_of(own):
            key = (one.is_photograph, one.operator)
            best[key] = min(best.get(key, math.inf), math.inf if math.isnan(one.left) else one.left)
        shares = {key: left for key, left in best.items() if left < math.inf}
        # Photographs as their own answers count where no model has a share.
        known = [left for (is_itself, _), left in shares.items() if not is_itself] or [*shares.values()]
        assert worst_left(means).get(scene) == (pytest.approx(max(known)) if known else None)
        lifted = own[(own["lifter"] != "raw2d") & (own["ok"] > 0)]
        assert {operator for is_itself, operator in best if is_itself} == {"rgb"} & {*lifted["operator"]}
