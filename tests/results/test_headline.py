from lift3d.results.headline import headline
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store
from tests.support.runs import ROOM, STREET, run_into, small_recipe


def test_the_brief_table_has_one_line_per_operator_and_lifter_and_says_over_how_many_scenes(tmp_path):
    recipe = small_recipe(scenes=[ROOM, f"{STREET}&depth=0"], operators=["rgb"], metrics=["psnr"])
    run_into(str(tmp_path / "store"), recipe)
    table = run_table(open_store(str(tmp_path / "store")), recipe.run_id)
    lines = [[cell.strip() for cell in line.split("|")] for line in headline(table, is_brief=True).splitlines()]
    found = {line[3]: line[1] for line in lines if len(line) > 3 and line[2] == "rgb"}
    assert found == {
        "raw2d": "mean of 2/2",
        "nearest_view": "mean of 2/2",
        "depth_mean": "mean of 1/2",  # The street hides its depth.
    }
    assert sum(line[2:3] == ["rgb"] for line in lines) == len(found)
    whole = headline(table)
    assert "mean of 1/2" in whole
    assert "room" in whole
