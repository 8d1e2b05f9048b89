"""The bench of matches and probes: what is known by hand, and that the page says all that was measured."""

import math
from dataclasses import replace

import pytest
import torch

from lift3d.bench import probe3d
from lift3d.bench.pages import PairedInterval
from lift3d.bench.probe3d_measures import Cells, match_errors, matched, normals, probed
from lift3d.bench.probe3d_page import is_missed, page
from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import Frame
from lift3d.errors import ConfigError, NoOverlapError, SceneError
from tests.support.runs import small_recipe

SIZE = ImageSize(32, 40)


def camera(x=0.0):
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[0, 3] = -x
    return Camera(torch.tensor([[30.0, 0, 20], [0, 30, 16], [0, 0, 1]]), w2c, SIZE)


def wall(x=0.0, z=3.0, **changes):
    """A frame that looks at a wall straight ahead."""
    shape = (SIZE.height, SIZE.width)
    given = {"z_depth": torch.full(shape, z), "is_valid": torch.ones(shape, dtype=torch.bool), **changes}
    return Frame(torch.zeros(3, *shape), camera=camera(x), **given)


def test_features_match_themselves_and_a_permutation_is_found():
    features = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    a, b = matched(features, features[order], kept=200)
    assert len(a.unique()) == 200
    assert torch.equal(order[b], a)


def test_matches_that_stand_out_are_kept_first():
    # Distances of the first: 0 and 1, so 1 - d1/d2 = 1; of the second, to both alike: 0.
    a, b = matched(torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.eye(2), kept=1)
    assert (a.tolist(), b.tolist()) == ([1], [0])


def test_a_view_and_itself_have_full_recall_and_a_shift_is_measured_in_the_world_and_in_the_image():
    cells = Cells.of(wall())
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(cells.uv), 16, generator=generator)
    world, heights = match_errors(cells, cells, features, features)
    assert float(world.max()) == 0
    assert float(heights.max()) < 1e-6
    # Three pixels to the right, at 30 px of focal length and three metres away, are 30 cm.
    beside = match_errors(cells, Cells.of(wall(x=0.3)), features, features)
    assert beside[0] == pytest.approx(torch.full_like(beside[0], 0.3))
    assert beside[1] == pytest.approx(torch.full_like(beside[1], 3 / 32), abs=1e-6)


def test_pixels_without_depth_are_never_matched_and_a_view_without_any_is_refused():
    hidden = torch.ones(32, 40, dtype=torch.bool)
    hidden[:, 10:] = False
    cells = Cells.of(wall(is_valid=hidden))
    assert int(cells.is_known.sum()) == 320
    world, _ = match_errors(cells, Cells.of(wall()), *[torch.rand(1280, 4)] * 2)
    assert len(world) == 320
    with pytest.raises(SceneError, match="a view has none"):
        Cells.of(wall(z_depth=None))


def test_features_are_read_where_their_cells_lie_and_holes_as_their_nearest():
    cells = Cells.of(wall())
    grid = cells.grid
    values = torch.rand(3, grid.rows + 2, grid.cols + 2, generator=torch.Generator().manual_seed(0))
    around = FeatureGrid(*values.shape[1:], grid.stride_u, grid.stride_v, -grid.stride_u, -grid.stride_v)
    inner = values[:, 1:-1, 1:-1].flatten(1).T
    assert cells.read(FeatureMap(values, around)) == pytest.approx(inner, abs=1e-5)
    values[:, 5, 5] = math.nan
    assert bool(torch.isfinite(cells.read(FeatureMap(values, around))).all())


def test_normals_of_a_plane_look_at_the_camera_and_edges_have_none():
    assert torch.equal(Cells.of(wall()).normal.nan_to_num(-2).unique(dim=0), torch.tensor([[-2.0] * 3, [0, 0, -1]]))
    x, y = torch.meshgrid(torch.arange(5.0), torch.arange(4.0), indexing="xy")
    tilted = normals(torch.stack([x, y, 10 + 0.5 * x], -1))
    expected = torch.tensor([0.5, 0, -1]) / math.sqrt(1.25)
    assert tilted[1:-1, 1:-1] == pytest.approx(expected.expand(2, 3, 3))
    assert bool(torch.isnan(tilted[0]).all())
    assert bool(torch.isnan(normals(torch.stack([x, y, 10 + 5 * x], -1))).all())


def test_a_probe_tells_what_is_linear_in_features_and_the_mean_of_what_is_not_in_them():
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = 3 + x @ torch.tensor([[1.0, 0], [2, 0], [0, -1], [0, 0], [0, 4]], dtype=torch.float64)
    assert probed(x[:200], y[:200], x[200:], strength=1e-9) == pytest.approx(y[200:], abs=1e-6)
    nothing = torch.zeros(200, 1)
    assert probed(nothing, y[:200], nothing[:3]) == pytest.approx(y[:200].mean(0).expand(3, 2))


def test_probes_are_judged_on_views_that_they_were_not_fitted_on():
    # Depth and normals as they are, as features: exact up to the ridge. Fitted on walls at 2 and 4 m, asked at 3 m.
    cells = [Cells.of(wall(z=z)) for z in (2.0, 3.0, 4.0, 3.0)]
    features = [one.z_depth[:, None].log() for one in cells]
    found = probe3d.probe_values(cells, features)
    assert found[probe3d.NORMAL_DEG] == pytest.approx([0] * 4, abs=1e-6)
    # Those at 2 and 4 m are told by views at 3 m alone, which know no other depth.
    assert found[probe3d.DEPTH_RMSE][[0, 2]] == pytest.approx([1, 1])
    assert found[probe3d.DEPTH_RMSE][[1, 3]] == pytest.approx([0.0, 0.0], abs=0.1)
    assert list(found[probe3d.DELTA1]) == [0, 1, 0, 1]


def test_views_are_paired_by_the_angle_between_their_rays():
    # Seen from 3 m: half a metre aside is under 15°, a metre is not; two metres aside see too little of the same.
    pairs = probe3d.chosen_pairs([wall(x=x) for x in (0.0, 0.5, 1.0, 9.0)])
    assert {(one.a, one.b, one.bin) for one in pairs} == {
        (0, 1, 0), (1, 0, 0), (1, 2, 0), (2, 1, 0), (0, 2, 1), (2, 0, 1)
    }  # fmt: skip
    assert all(one.overlap > 0.6 for one in pairs)


def test_rows_stand_beside_raw_ones_and_the_page_has_them_all(tmp_path):
    recipe = small_recipe(
        scenes=["procedural:room?seed=1&views=10&height=32&width=44"],
        operators=["tiny:encoder"],
        lifters=["anchored"],
        image_height=32,
        holdout=2,
    )
    (row,) = probe3d.measure(recipe, str(tmp_path))
    rows = ["raw2d", "refine", "heldout", "heldout, sweep", "heldout, finer cells", "place alone"]
    assert list(row.means) == rows
    name = probe3d.recall_name("10 px", 1)
    assert row.gains["heldout"][name].mean == pytest.approx(row.means["heldout"][name] - row.means["raw2d"][name])
    assert row.gains["heldout"][name].low > 0
    assert not is_missed(row, "heldout", name)
    none = replace(row, gains={"heldout": {name: PairedInterval(0.0, 0.0, 0.0)}})
    assert is_missed(none, "heldout", name)
    assert probe3d.measured_before(str(tmp_path)) == [row]
    text = page([row])
    assert "lift3d bench probe3d" in text
    assert all(f"\n| {one} " in text for one in rows)


def test_targets_that_share_nothing_are_said_so(tmp_path):
    recipe = small_recipe(scenes=["procedural:room?views=6&height=48&width=64"], operators=["rgb"], holdout=6)
    with pytest.raises(NoOverlapError, match="no two targets"):
        probe3d.measure(recipe, str(tmp_path))
    with pytest.raises(ConfigError, match="Nothing was measured"):
        probe3d.measured_before(str(tmp_path))
