import json
import math
import statistics
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from lift3d.viewer.choice import ALL, POINT_COUNTS, Choice, Eye, Filter
from lift3d.viewer.focus import in_focus
from lift3d.viewer.labels import Labels
from lift3d.viewer.live import Follower
from lift3d.viewer.picking import points_in_box
from lift3d.viewer.picture import beside, painted
from lift3d.viewer.raster import PageCamera, RasterPoints, seen_points
from lift3d.viewer.surface_points import LEVELS, by_detail
from lift3d.viewer.texts import legend


def wall(z, half, spacing):
    """A square of points, every one as wide as it takes to leave no gap."""
    along = torch.arange(-half, half + spacing / 2, spacing, dtype=torch.float64)
    xy = torch.cartesian_prod(along, along)
    xyz = torch.cat([xy, torch.full((len(xy), 1), z)], dim=1).double()
    return xyz, torch.full((len(xyz),), 0.65 * spacing)


def raster(*walls):
    xyz, radius = (torch.cat(parts) for parts in zip(*walls, strict=True))
    order, level = by_detail(xyz, radius)
    return xyz, RasterPoints(xyz[order].float().T.contiguous(), radius[order], order, level)


CAMERA = PageCamera(torch.eye(4, dtype=torch.float64), math.radians(60), 96, 128)


@pytest.mark.parametrize("spacing", [0.005, 0.02, 0.07])
def test_a_picture_shows_the_nearest_surface_and_no_gap_of_it_however_far_apart_points_are(spacing):
    xyz, points = raster(wall(2.0, 0.8, spacing), wall(4.0, 4.0, 0.03))
    seen = seen_points(points, CAMERA)
    assert tuple(seen.point.shape) == (96, 128)
    # The few pixels between points are closed when they are painted.
    assert float((seen.point < 0).double().mean()) < 0.002
    assert (painted(seen, torch.zeros(len(xyz), 3, dtype=torch.uint8)) == 0).all()
    front = xyz[seen.point][..., 2] < 3
    half = 0.8 * CAMERA.focal / 2
    rows, cols = (((torch.arange(n) + 0.5 - n / 2).abs() < half - 3) for n in (96, 128))
    assert float(front[rows][:, cols].double().mean()) > 0.995
    beyond = ((torch.arange(128) + 0.5 - 64).abs() > half + 8)[None] | torch.zeros(96, 1, dtype=torch.bool)
    assert not bool(front[beyond].any())
    is_seen = seen.point >= 0
    torch.testing.assert_close(seen.z_depth[is_seen].double(), xyz[seen.point[is_seen], 2], atol=1e-4, rtol=0)


def test_nothing_is_seen_of_no_points_and_of_what_lies_behind():
    xyz, points = raster(wall(-2.0, 0.5, 0.1))
    for some in (points, points.only(torch.zeros(0, dtype=torch.int64))):
        seen = seen_points(some, CAMERA)
        assert int(seen.point.max()) == -1
        assert (painted(seen, torch.zeros(len(xyz), 3, dtype=torch.uint8)) == 255).all()


def test_the_first_points_are_spread_as_views_see_them():
    near, far = wall(1.0, 0.5, 0.01), wall(8.0, 4.0, 0.08)
    xyz, points = raster(near, far)
    assert sorted(points.index.tolist()) == list(range(len(xyz)))
    assert bool((points.level.int().diff() <= 0).all())
    assert int(points.level.max()) == LEVELS
    first = points.index[: points.count_of(4.0)]
    # What is eight times as far, and as large in a picture, has as many.
    share = float((xyz[first, 2] < 2).double().mean())
    assert 0.35 < share < 0.65
    for count in (50, 500, 5000):
        assert points.count_of(points.wider_of(count)) == pytest.approx(count, rel=0.02)
    assert points.wider_of(len(xyz)) == 1.0


def test_few_points_of_many_lie_close_where_many_views_look():
    (middle, radius), (around, wider) = wall(2.0, 0.5, 0.005), wall(3.0, 4.0, 0.02)
    xyz, points = raster((middle, radius), (around, wider))
    views = torch.where(xyz[:, 2] < 2.5, 40, 5) + torch.arange(len(xyz)) % 2
    few = in_focus(points, views, 20_000)
    assert 16_000 < len(few.index) <= 20_000
    assert len(few.index.unique()) == len(few.index)
    assert torch.equal(few.xyz.T, xyz[few.index].float())
    is_middle = few.xyz[2] < 2.5
    assert 0.8 < float(is_middle.double().mean()) < 0.95
    # Of the points of a cube, one that most views see; hardly a gap is left, and nothing around hides the middle.
    assert float((views[few.index[is_middle]] == 41).double().mean()) > 0.9
    apart, _ = cKDTree(few.xyz[:, is_middle].T).query(middle.numpy())
    assert (apart <= float(few.radius[is_middle].amin())).mean() > 0.85
    assert float(few.radius.amax()) <= 3.01 * float(few.radius.amin())
    assert in_focus(points, views, len(xyz)) is points
    # Where all is seen alike, all points are of the middle; of little more than is wanted most is there.
    for wanted in (20_000, len(xyz) - 10):
        for seen in (views, torch.full_like(views, 3)):
            assert 0.85 * wanted < len(in_focus(points, seen, wanted).index) <= wanted


def test_few_of_scattered_points_are_nearly_as_many_as_are_wanted():
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(3, 60_000, generator=generator)
    points = RasterPoints(xyz, torch.full((60_000,), 1e-4), torch.arange(60_000), torch.zeros(60_000).to(torch.uint8))
    for wanted in (59_000, 30_000, 1000):
        few = in_focus(points, torch.full((60_000,), 2), wanted)
        assert 0.85 * wanted < len(few.index) <= wanted
        assert bool(few.radius.isfinite().all())


def test_who_follows_an_eye_draws_nothing_any_more_when_it_has_ended():
    drawn = []
    follower = Follower(lambda height: time.sleep(0.1) or drawn.append(height), lambda: None)
    follower.moved()
    time.sleep(0.05)
    follower.stop()
    assert not follower._thread.is_alive()
    assert len(drawn) <= 1


def test_a_box_holds_the_surface_that_is_seen_in_it_and_nothing_behind():
    xyz, points = raster(wall(2.0, 0.8, 0.02), wall(4.0, 4.0, 0.03))
    chosen = points_in_box(points, CAMERA, (0.4, 0.4), (0.6, 0.6))
    assert len(chosen) > 20
    assert bool((xyz[chosen, 2] == 2.0).all())
    assert float(xyz[chosen, :2].abs().max()) < 0.4


def test_two_pictures_stand_beside_each_other():
    black, white = np.zeros((4, 10, 3), np.uint8), np.full((4, 10, 3), 255, np.uint8)
    picture = beside(black, white, 0.3)
    assert (picture[:, :3] == 0).all()
    assert (picture[:, 4:] == 255).all()
    assert (beside(black, white, 0.0) == 255).all()


def test_a_browser_brings_back_what_it_had_and_nothing_else():
    otherwise = Choice("run", "room", "rgb", "anchored")
    eye = Eye((1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), 0.8)
    kept = replace(otherwise, colouring="depth", shape="picture", shown=Filter(3, 0.5, (-1.0, 1.0)), eye=eye)
    assert Choice.of(kept.to_text(), otherwise) == kept
    fields = json.loads(kept.to_text())
    for wrong in (
        {"shape": "ball"},
        {"colouring": 3},
        {"count": 7},
        {"eye": {**fields["eye"], "fov": "wide"}},
        {"eye": {**fields["eye"], "position": [1, 2, None]}},
        {"shown": {"x": [3, "y"]}},
        {"shown": [], "split": "half", "run": None},
    ):
        assert Choice.of(json.dumps(wrong), otherwise) == otherwise
    for nonsense in (None, "", "{", "[]", "7", '{"fov": NaN}'):
        assert Choice.of(nonsense, otherwise) == otherwise
    assert otherwise.count in POINT_COUNTS
    assert otherwise.shown.x == ALL


def test_labels_are_listed_by_size_and_called_as_people_say():
    labels = Labels(torch.tensor([2, 2, 5, -1, 2, 5, 9]), {2: "floor", 5: "<b>chair"}, "class")
    assert labels.listed == [(2, 3), (5, 2), (9, 1)]
    assert [labels.name(one) for one in (2, 9)] == ["floor", "class 9"]
    assert labels.renamed(9, " mug ").name(9) == "mug"
    said = legend(labels, {5})
    assert "<s>&lt;b&gt;chair</s>" in said
    assert "<b>" not in said
    assert "50.0%" in said


@pytest.mark.slow
def test_a_picture_of_a_million_points_takes_a_moment_of_one_core():
    _, points = raster(wall(2.0, 1.5, 0.00425), wall(3.0, 3.0, 0.0085))
    colours = torch.zeros(len(points.index), 3, dtype=torch.uint8)
    camera, times, threads = replace(CAMERA, height=512, width=683), [], torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(9):
        begin = time.thread_time()
        painted(seen_points(points, camera), colours)
        times.append(1000 * (time.thread_time() - begin))
    torch.set_num_threads(threads)
    print(f"\n{len(points.index):,} points, 683×512: {statistics.median(times):.0f} ms of one core")
    assert statistics.median(times) < 150
