"""Tuned encoders beside the one before: errors know a collapse, probes tell labels, a page has all that is kept."""

import cv2
import numpy as np
import pytest
import torch

from lift3d.bench import finetune
from lift3d.bench.finetune_measures import ERROR, MIOU, RELATIVE_ERROR, error_values, label_values, sightings
from lift3d.bench.finetune_page import draw, page, verdict
from lift3d.bench.pages import PairedInterval
from lift3d.bench.probe3d import Pair, recall_name
from lift3d.bench.probe3d_measures import Cells
from lift3d.domain.features import FeatureMap
from lift3d.errors import ConfigError
from lift3d.pipeline.inputs import SceneInputs, quiet
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from tests.support.runs import small_recipe

SCENE = "procedural:tabletop?seed=1&views=6&height=48&width=64"


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    inputs = SceneInputs(read_scene(SCENE), open_store(str(tmp_path_factory.mktemp("store")), create=True), 48)
    inputs.decode_all(quiet)
    frames = [inputs.frame(name) for name in inputs.views]
    return [Cells.of(frame) for frame in frames], frames


def test_a_view_sees_its_own_points_where_they_are(views):
    cells, frames = views
    cell, uv = sightings(cells[0], cells[0], frames[0])
    assert len(cell) == int(cells[0].is_known.sum())
    torch.testing.assert_close(uv, cells[0].uv[cell], atol=1e-3, rtol=0)


def test_what_a_point_is_has_no_error_and_growing_alike_is_told_by_the_spread(views):
    cells, frames = views
    pairs = [Pair(a, a + 1, 0, 1.0) for a in range(5)]
    # The place in the world, as features: the same in all views, up to how they are read.
    maps = [FeatureMap((one.xyz.T.reshape(3, *one.grid.shape)).nan_to_num(0).float(), one.grid) for one in cells]
    noise = torch.Generator().manual_seed(0)
    noisy = [FeatureMap(one.values + torch.randn(one.values.shape, generator=noise), one.grid) for one in maps]
    alike = [FeatureMap(one.values + 30, one.grid) for one in noisy]
    right, wrong, near = (error_values(cells, frames, pairs, one) for one in (maps, noisy, alike))
    assert np.isnan(right[ERROR][5])
    mean = {name: [float(np.nanmean(one[name])) for one in (right, wrong, near)] for name in (ERROR, RELATIVE_ERROR)}
    assert mean[ERROR][0] < 0.2 * mean[ERROR][1]
    assert mean[ERROR][2] < 0.1 * mean[ERROR][1]
    assert mean[RELATIVE_ERROR][2] > 0.5 * mean[RELATIVE_ERROR][1]


def test_labels_that_are_in_the_features_are_told_and_scenes_without_any_have_no_figure(views):
    cells, frames = views
    names = sorted({*torch.cat([frame.labels.flatten() for frame in frames]).tolist()} - {-1})
    grid = cells[0].grid
    assert grid.shape == frames[0].labels.shape
    maps = [
        FeatureMap(torch.stack([(frame.labels == name).float() for name in names]), one.grid)
        for one, frame in zip(cells, frames, strict=True)
    ]
    assert label_values(cells, frames, maps)[MIOU] == pytest.approx(np.ones(6))
    unlabelled = read_scene(f"{SCENE}&labels=0")
    frame = unlabelled.views[0].load(48)
    assert label_values(cells[:1], [frame], maps[:1]) == {}


def test_rows_are_of_the_same_views_and_an_encoder_that_is_not_tuned_changes_nothing(tmp_path):
    same, other = "timm:test_vit?weights=random", "timm:test_vit?weights=random&seed=1"
    recipe = small_recipe(
        scenes=[SCENE], operators=[same, other], lifters=["anchored"], image_height=48, holdout=2, target_mode="heldout"
    )
    (row,) = finetune.measure(recipe, str(tmp_path))
    assert (row.plain, row.operator, row.targets) == (same, other, 3)
    for name, gain in row.gains.items():
        assert gain.mean == pytest.approx(row.after[name] - row.before[name])
    assert {ERROR, RELATIVE_ERROR, MIOU, recall_name("10 px", 0)} <= set(row.before)
    assert finetune.measured_before(str(tmp_path)) == [row]
    text = page([row])
    assert f"## {row.scene} (48 px)" in text
    assert "lift3d bench finetune" in text
    draw(SCENE, [same, other], tmp_path / "pictures/drawn.webp")
    assert cv2.imread(str(tmp_path / "pictures/drawn.webp")).shape[2] == 3
    assert "](pictures/drawn.webp)" in page([row], "pictures/drawn.webp")
    alone = recipe.model_copy(update={"operators": (same,)})
    with pytest.raises(ConfigError, match="Name that first"):
        finetune.measure(alone, str(tmp_path))


def test_a_verdict_needs_the_whole_interval():
    assert verdict(ERROR, PairedInterval(-0.2, -0.3, -0.1)) == "✓"
    assert verdict(ERROR, PairedInterval(0.2, 0.1, 0.3)) == "✗"
    assert verdict(MIOU, PairedInterval(0.2, 0.1, 0.3)) == "✓"
    assert verdict(MIOU, PairedInterval(0.2, -0.1, 0.3)) == ""
