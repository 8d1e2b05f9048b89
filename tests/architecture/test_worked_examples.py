"""The examples of ARCHITECTURE.md: an operator, a lifter, a metric and a reader of one file each, in one run."""

import csv
import sys
from pathlib import Path

import pytest
from PIL import Image

import lift3d
from lift3d.lifters import catalog as lifters
from lift3d.scenes import catalog as scenes

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


@pytest.fixture
def with_examples(monkeypatch):
    """Make the one line of each catalog, as the examples say."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setitem(lifters.LIFTERS, "plane_mean", "plane_mean_lifter:PlaneMean")
    from plane_mean_lifter import SPEC

    monkeypatch.setitem(lifters._SPECS, "plane_mean", SPEC)
    monkeypatch.setitem(scenes.READERS, "csv", "csv_reader:CsvReader")
    yield
    for name in [name for name, module in sys.modules.items() if str(EXAMPLES) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def test_an_operator_a_lifter_a_metric_and_a_reader_of_one_file_each(with_examples, tmp_path):
    views = lift3d.read_scene("procedural:room?seed=0&views=5&height=48&width=64").views
    (tmp_path / "room/images").mkdir(parents=True)
    with (tmp_path / "room/poses.csv").open("w", newline="") as file:
        for view in views:
            pixels = (view.load(48).image.permute(1, 2, 0) * 255).round().byte().numpy()
            Image.fromarray(pixels).save(tmp_path / f"room/images/{view.id}.png")
            K, w2c = view.camera.K, view.camera.w2c
            row = [K[0, 0], K[1, 1], K[0, 2], K[1, 2], *w2c[:3].flatten()]
            csv.writer(file).writerow([f"{view.id}.png", *map(float, row)])
    recipe = lift3d.Recipe(
        scenes=(str(tmp_path / "room"),),
        operators=("edges", "rgb"),
        lifters=("plane_mean",),
        metrics=("coverage", "brightness_metric:brightness_gap"),
        plugins=(f"{EXAMPLES / 'edges_operator.py'}:OPERATOR",),
        image_height=48,
        sources=4,
        target_mode="heldout",
    )
    lift3d.run_serially(recipe, lift3d.Execution(store=str(tmp_path / "store")))
    frame = lift3d.run_table(lift3d.open_store(str(tmp_path / "store")), recipe.run_id).frame
    lifted = frame[frame["lifter"] == "plane_mean"].groupby(["operator", "metric"])["value"].mean()
    assert 0.5 < lifted["edges", "coverage"] <= 1.0
    assert 0.0 <= lifted["rgb", "brightness_gap"] < 0.2
    assert ("edges", "brightness_gap") not in lifted.dropna().index
    poses = {view.id.split(".")[0]: view.camera for view in lift3d.read_scene(str(tmp_path / "room")).views}
    assert all(poses[view.id].center.allclose(view.camera.center) for view in views)
