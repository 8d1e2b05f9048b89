"""What the scale benchmark counts and what its page concludes."""

import sys

import pytest

from lift3d.bench.cost_model import Assumptions, cost_section
from lift3d.bench.scale import Pace, ScaleFigures, Thousand, prepare_stub
from lift3d.bench.scale_page import scale_page
from lift3d.bench.scene_costs import Costs, CountingStore, Requests, SceneCosts
from lift3d.config import Execution, Recipe
from lift3d.pipeline.inputs import quiet
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product, write_product

COSTS = SceneCosts(
    192,
    "lift3d",
    "rgb",
    views=200,
    requests=Requests(put=77, get=79),
    per_scene=Costs(byte_count=0.0, seconds=1.0),
    per_view=Costs(byte_count=2.0**20, seconds=0.5),
)


def figures(slope: float, two_workers_s: float) -> ScaleFigures:
    control = tuple(Thousand(1000 * number, 100.0, 500.0, 300.0) for number in (1, 2, 3))
    return ScaleFigures(2, control, (Pace(10, 2.0, 1.0),), (Pace(10, 9.0, slope),), (0.5,), (two_workers_s,))


@pytest.mark.parametrize(("slope", "two", "said"), [(1.005, 0.52, ["met", "met"]), (1.02, 0.53, ["missed", "missed"])])
def test_the_page_says_whether_the_bars_are_met(slope: float, two: float, said: list[str]) -> None:
    assert figures(slope, two).worker_ratio == pytest.approx(0.5 / two)
    assert figures(slope, two).slope_ratio == pytest.approx(slope)
    page = scale_page(figures(slope, two))
    assert [
        line.rsplit(", ", 1)[1].rstrip(").") for line in page.splitlines() if "bar" in line and "**" in line
    ] == said
    assert "1.00 of the pace" in page


def test_costs_are_per_scene_and_per_view() -> None:
    assert COSTS.whole.seconds == 101.0
    page = cost_section(COSTS, overhead=0.0, assumed=Assumptions(scenes=3600))
    rows = {
        line.split("|")[1].strip(): line.split("|")[2].strip() for line in page.splitlines() if line.count("|") == 4
    }
    assert rows["lift, decode, score on CPU cores"] == "101 core-hours"
    assert rows["PUT and LIST"] == f"{3600 * 77:,} requests"
    assert rows["GET and HEAD"] == f"{3600 * 79:,} requests"
    assert rows["encode on GPUs"] == f"{3600 * 200 / 350 / 3600:,.0f} GPU-hours"


def test_a_product_without_arrays_costs_one_write_and_no_listing(tmp_path) -> None:
    open_store(str(tmp_path / "store"), create=True)
    store = CountingStore(str(tmp_path / "store"))
    write_product(store, "a", {}, {"n": 1})
    assert store.requests["put"] == 1
    store.requests.clear()
    assert open_product(store, "a").attrs == {"n": 1}
    assert store.requests == {"get": 1}


def test_a_scene_that_is_nothing_but_its_record_takes_one_write_and_few_calls_among_thousands(tmp_path):
    store = CountingStore(open_store(str(tmp_path / "store"), create=True).url)
    recipe = Recipe(operators=("rgb",), scenes=tuple(f"procedural:room?seed={number}" for number in range(5000)))
    attempt = prepare_stub(recipe, Execution(store=store.url), store)
    for scene in recipe.scenes[:3]:
        attempt(scene, quiet)  # which imports, and makes folders and clients
    store.requests.clear()
    # It takes 600, with all types checked 3,300; a file of rows takes 5,000, a frame of pandas 20,000, and a look at
    # every scene of the run as many as there are.
    assert _calls(lambda: attempt(recipe.scenes[3], quiet)) < 4500
    assert store.requests == {"put": 1}


def _calls(work) -> int:
    """Return how many functions of Python and of C are called: what work costs, whatever the machine."""
    count = 0

    def on_event(frame, event, argument) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
