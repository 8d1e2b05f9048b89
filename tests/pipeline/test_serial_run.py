import pytest

from lift3d.pipeline import lift as scene_lift
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store
from lift3d.tables.aggregation import summary
from tests.support.runs import canonical_arrays, canonical_table, ran, rows_of, run_into, small_recipe
from tests.support.store_workers import Killed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished run: store, recipe, records."""
    url = str(tmp_path_factory.mktemp("finished") / "store")
    recipe = small_recipe()
    return url, recipe, run_into(url, recipe)


def test_every_operator_and_lifter_has_its_rows(finished):
    url, recipe, records = finished
    rows = rows_of(url, recipe)
    assert records[0].outcome == "ok"
    assert set(zip(rows["operator"], rows["lifter"], strict=True)) == {
        (operator, lifter) for operator in ("rgb", "hog") for lifter in ("raw2d", "plane_sweep", "anchored")
    }
    assert set(rows["scoring_geometry"]) == {"depth", "none"}
    assert set(rows["protocol"]) == {"leave-one-out/all", "leave-one-out/common"}


def test_the_plain_answer_is_the_ceiling_of_fidelity_and_lifting_the_gain_in_consistency(finished):
    url, recipe, _ = finished
    lines = summary(run_table(open_store(url), recipe.run_id))
    rgb = lines[(lines["operator"] == "rgb") & lines["protocol"].str.endswith("/all")].set_index("lifter")
    assert rgb.loc["raw2d", "feature_cosine"] == pytest.approx(1.0)
    assert rgb.loc["raw2d", "psnr"] > rgb.loc["plane_sweep", "psnr"]
    hog = lines[(lines["operator"] == "hog") & lines["protocol"].str.endswith("/all")].set_index("lifter")
    assert hog.loc["anchored", "warp_error_short"] < hog.loc["raw2d", "warp_error_short"]


def test_a_second_run_computes_nothing_a_new_metric_nothing_upstream_and_a_new_operator_only_its_own(finished):
    url, recipe, records = finished
    before = canonical_table(url, recipe)
    assert records[0].computed["lifted"] == 6
    assert run_into(url, recipe)[0].computed == {}
    assert canonical_table(url, recipe) == before
    assert run_into(url, small_recipe(metrics=["psnr"]))[0].computed == {"scores": 2}
    computed = run_into(url, small_recipe(operators=["rgb", "hog", "felzenszwalb"]))[0].computed
    assert computed == {"features": 6, "lifted": 3, "scores": 3}


@pytest.mark.parametrize("survived", [1, 3])
def test_killed_half_way_and_run_again_equals_a_clean_run(finished, tmp_path, monkeypatch, survived):
    url, recipe, records = finished
    written = []
    write = scene_lift.write_lifted_part

    def dies(*arguments, **options):
        if len(written) == survived:
            raise Killed
        written.append(arguments)
        write(*arguments, **options)

    killed = str(tmp_path / "killed")
    monkeypatch.setattr(scene_lift, "write_lifted_part", dies)
    with pytest.raises(Killed):
        run_into(killed, recipe)
    monkeypatch.undo()
    resumed = run_into(killed, recipe)
    assert resumed[0].computed.get("features", 0) == 0
    assert resumed[0].computed["lifted"] == 6 - survived
    assert canonical_table(killed, recipe) == canonical_table(url, recipe)
    assert canonical_arrays(killed, resumed) == canonical_arrays(url, records)


@pytest.mark.fault(29, "a scene of one view, in a run")
def test_one_view_cannot_be_lifted(tmp_path):
    record, _ = ran(tmp_path, scenes=["procedural:room?views=1&height=48&width=64"], operators=["rgb"])
    assert record.outcome == "failed"
    assert "at least 2 usable views, got 1" in record.reason


def test_refining_uses_the_own_view_and_is_closer_to_it(finished, tmp_path):
    held = rows_of(*finished[:2])
    _, refined = ran(tmp_path, target_mode="refine", operators=["rgb"], lifters=["plane_sweep"])
    psnr = [rows[(rows["lifter"] == "plane_sweep") & (rows["metric"] == "psnr")]["value"] for rows in (refined, held)]
    assert psnr[0].mean() > psnr[1].mean()


def test_novel_cameras_give_lifted_views_and_coverage(tmp_path):
    record, rows = ran(tmp_path, targets="path:4", operators=["rgb"], lifters=["anchored"])
    assert record.target_count == 4
    assert set(rows["metric"]) == {"coverage"}
    assert set(rows["target_mode"]) == {"novel"}
    assert rows["value"].between(0.5, 1).all()
