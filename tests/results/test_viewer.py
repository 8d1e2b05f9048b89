import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.results.colours import similarity_levels, similarity_table, to_bytes
from lift3d.results.lifted_scene import HeldCapture
from lift3d.results.opened import lifted_scenes
from lift3d.results.picture_rows import spread
from lift3d.results.query.likeness import relevance
from lift3d.viewer import gathering, texts, view_slices
from lift3d.viewer.colouring import ColourMode, colours_of, likeness
from lift3d.viewer.gathering import is_small, sketched_scene, view_scene
from lift3d.viewer.picking import pick_picture, pick_point
from lift3d.viewer.transform import half_extent, viewer_transform
from tests.support.runs import run_into, small_recipe

OPERATORS = ["rgb", "hog", "tiny:segmenter", "felzenszwalb"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("viewed") / "store")
    run_into(url, small_recipe(operators=OPERATORS, lifters=["anchored"], metrics=["feature_cosine"]))
    return lifted_scenes(url)


@pytest.fixture(scope="module")
def viewed(scenes):
    return {one.operator: view_scene(one, scenes) for one in scenes}


def camera(x=0.0, z=-2.0):
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, 3] = torch.tensor([-x, 0.0, -z], dtype=torch.float64)
    return Camera(torch.tensor([[40.0, 0, 32], [0, 40, 24], [0, 0, 1]], dtype=torch.float64), w2c, ImageSize(48, 64))


def test_a_click_means_the_foremost_point_near_its_ray():
    points = torch.tensor([[0.0, 0, 5], [0.001, 0, 2], [0.0, 0, -1], [3.0, 0, 2]], dtype=torch.float64)
    origin, ahead = torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 0, 2], dtype=torch.float64)
    found = pick_point(points.T, origin, ahead)
    assert found is not None
    assert (found[0], round(found[1], 6)) == (1, 2.0)
    assert pick_point(points.T, origin, torch.tensor([0.0, 1, 0], dtype=torch.float64)) is None
    assert pick_point(points[:0].T, origin, ahead) is None


def test_a_picture_is_hit_where_its_camera_shows_it():
    cameras = [camera(-1.0), camera(1.0)]
    stage = viewer_transform(torch.tensor([[-1.0, 0, 0], [1, 0, 0], [0, 0, 0]]), cameras)
    center = stage(cameras[1].center)
    ahead = torch.tensor([0.0, 0, 1], dtype=torch.float64)
    found = pick_picture(cameras, stage, center, ahead)
    assert found is not None
    assert (found[0], round(found[1], 9)) == (1, round(stage.picture_distance, 9))
    wide, _ = half_extent(cameras[1])
    edge = torch.tensor([wide, 0, 1], dtype=torch.float64)
    assert pick_picture(cameras, stage, center, edge * 0.999 + ahead * 0.001) is not None
    assert pick_picture(cameras, stage, center, edge + torch.tensor([0.01, 0, 0])) is None
    assert pick_picture([], stage, center, ahead) is None


def test_a_stage_does_not_depend_on_units_place_or_heading_of_the_world():
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cameras = [camera(x) for x in (-0.5, 0.0, 0.5)]
    before = viewer_transform(points, cameras)
    assert before.up.tolist() == [0.0, -1.0, 0.0]
    far = torch.tensor([1e5, -2e5, 3e5], dtype=torch.float64)
    moved = []
    for one in cameras:
        w2c = one.w2c.clone()
        w2c[:3, 3] = 7 * w2c[:3, 3] - w2c[:3, :3] @ far
        moved.append(replace(one, w2c=w2c))
    after = viewer_transform(7 * points + far, moved)
    torch.testing.assert_close(after(7 * points + far), before(points), atol=1e-6, rtol=0)
    torch.testing.assert_close(after.eye, before.eye)
    assert after.picture_distance == pytest.approx(before.picture_distance)
    centers = torch.stack([one.center for one in cameras])
    far_out = max(before(some).norm(dim=1).quantile(0.9) for some in (points, centers))
    assert float(far_out) == pytest.approx(1.0, abs=1e-3)


def test_the_first_look_is_from_above_behind_a_camera_at_the_middle():
    stage = viewer_transform(torch.zeros(1, 3), [camera(x) for x in (-0.5, 0.0, 0.5)])
    assert float(stage.eye @ stage.up) > 0 > float(stage.eye[2])
    down = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]], dtype=torch.float64)
    assert bool(torch.isfinite(viewer_transform(torch.zeros(0, 3), [replace(camera(), w2c=down)]).eye).all())


@pytest.mark.parametrize("is_lifted", [True, False])
def test_similarity_is_the_cosine_of_the_stored_features(scenes, viewed, is_lifted):
    seen, one = viewed["hog"], next(one for one in scenes if one.operator == "hog")
    point = len(seen.cloud) // 2
    home = seen.slices[int(seen.cloud.view[point])]

    def features(place):
        view = one.view(place.target) if is_lifted else one.plain(place.target)
        return view.lifted[0].features.values.flatten(1)

    query = features(home)[:, int(home.cells_at(seen.cloud.uv[point])) - home.cells.start, None]
    got = likeness(seen, ColourMode(is_lifted, point=point))
    assert float(got[seen.point_cells[point]]) == pytest.approx(1.0, abs=2e-3)
    for place in seen.slices:
        expected = torch.nn.functional.cosine_similarity(features(place), query, dim=0)
        # Unit vectors are held as float16.
        torch.testing.assert_close(got[place.cells], expected, atol=2e-3, rtol=0, equal_nan=True)


def test_relevance_is_even_where_a_word_is_as_near_as_the_others():
    unit = torch.tensor([[1.0, 0], [0, 1], [torch.nan, torch.nan]]).half()
    values = relevance(unit, torch.tensor([[2.0, 0], [0, 3.0], [0, 1]]))
    assert values[0] == pytest.approx(1 / (1 + math.exp(-10)), abs=1e-6)
    assert values[1] == pytest.approx(1 / (1 + math.exp(10)), abs=1e-6)
    assert bool(torch.isnan(values[2]))
    assert relevance(unit[:1], torch.tensor([[1.0, 1], [1, 1]]))[0] == 0.5


@pytest.mark.parametrize("is_lifted", [True, False])
@pytest.mark.parametrize("operator", ["tiny:segmenter", "felzenszwalb"])
def test_points_have_the_colours_of_the_prediction_that_all_views_share(scenes, viewed, operator, is_lifted):
    seen, one = viewed[operator], next(one for one in scenes if one.operator == operator)
    colours = colours_of(seen, ColourMode(is_lifted, "prediction"))
    for index, place in enumerate(seen.slices):
        answer = one.view(place.target) if is_lifted else one.plain(place.target)
        own = seen.cloud.view == index
        at = seen.cloud.uv[own].float().long()
        picture = torch.from_numpy(to_bytes(one.colours.picture(answer.prediction)))
        assert torch.equal(colours.points[own], picture[at[:, 1], at[:, 0]])


def test_photographs_are_those_of_the_capture_and_those_of_the_store_alike(scenes, viewed):
    seen = viewed["hog"]
    without_copy = view_scene(scenes[1], [one for one in scenes if one.operator != "rgb"])
    # The store holds float16.
    for target, photo in seen.photos.items():
        assert (photo.int() - without_copy.photos[target].int()).abs().max() <= 1
    colours = colours_of(seen, ColourMode(True, "photo"))
    frame = scenes[0].scene.view(seen.slices[0].target).load(48)
    expected = (255 * frame.image.permute(1, 2, 0)).round()
    assert (torch.from_numpy(colours.picture(0)).float() - expected).abs().max() <= 1


def test_a_scene_opens_when_its_images_are_gone(scenes, viewed):
    gone = [replace(one, record=replace(one.record, location="/nowhere"), _capture=HeldCapture()) for one in scenes]
    rgb, hog = ([one for one in gone if one.operator == name] for name in ("rgb", "hog"))
    seen = view_scene(hog[0], hog)
    assert not seen.photos
    assert seen.colourings[0] == "features"
    assert "cannot be read" in texts.summary("room", seen, 1)
    assert len(seen.cloud) > 0
    # rgb is the photographs: where it was lifted, they are still there.
    again = view_scene(hog[0], [*rgb, *hog])
    assert torch.equal(again.surface.photo, viewed["hog"].surface.photo)


def test_cameras_of_which_there_is_no_2d_answer(scenes):
    lifted = tuple(one for one in scenes[0].record.lifted if not one.is_plain)
    novel = [replace(one, record=replace(one.record, lifted=lifted)) for one in scenes]
    seen = view_scene(novel[1], novel)
    assert seen.plain is None
    plain, lifted = (colours_of(seen, ColourMode(is_lifted, "features")).points for is_lifted in (False, True))
    assert torch.equal(plain, lifted)
    assert "no plain 2D" in texts.summary("room", seen, 1)


def test_more_cameras_and_features_than_are_held(scenes, monkeypatch):
    monkeypatch.setattr(gathering, "MAX_VIEWS", 3)
    monkeypatch.setattr(view_slices, "FEATURE_BYTES", 4000)
    seen = view_scene(scenes[0], scenes)
    assert [place.target for place in seen.slices] == spread(scenes[0].targets, 3)
    assert (len(seen.slices), seen.view_count) == (3, 6)
    assert seen.lifted.unit.nbytes <= 4000
    said = texts.summary("room", seen, 10)
    assert "3 of 6 cameras" in said
    assert f"every {seen.slices[0].step}th" in said


def test_a_sketch_is_what_a_few_views_show_of_the_same_surface(scenes, viewed, monkeypatch):
    assert is_small(scenes[0])
    monkeypatch.setattr(gathering, "SKETCH_VIEWS", 3)
    monkeypatch.setattr(gathering, "SKETCH_POINTS", 500)
    monkeypatch.setattr(gathering, "_FEW_VIEWS", 3)
    assert not is_small(scenes[0])
    hog, whole = next(one for one in scenes if one.operator == "hog"), viewed["hog"]
    sketch = sketched_scene(hog, scenes)
    assert [place.target for place in sketch.slices] == spread(hog.targets, 3)
    assert 100 < len(sketch.cloud) <= 500
    assert (sketch.view_count, sketch.is_sketch) == (6, True)
    assert "first look" in texts.summary("room", sketch, 500)
    # On the surface, and as many views see a point, about.
    apart = torch.cdist(sketch.cloud.xyz, whole.cloud.xyz).amin(1)
    assert float((apart < 2 * sketch.surface.spacing).double().mean()) > 0.9
    assert set(sketch.surface.views.tolist()) <= {2, 4, 6}
    assert {*sketch.photos} == {place.target for place in sketch.slices}
    for place in sketch.slices:
        same = next(one for one in whole.slices if one.target == place.target)
        assert torch.equal(sketch.lifted.unit[place.cells], whole.lifted.unit[same.cells])


def test_what_is_asked_is_asked_of_the_nearest_points_of_another_cloud():
    few = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]], dtype=torch.float64)
    many = torch.cat([few + 0.1, few - 0.1]).flip(0)
    asked = ColourMode(True, point=1).moved(few, many)
    assert (many[asked.point] - few[1]).norm() < 0.2
    asked = ColourMode(True, area=torch.tensor([0, 2])).moved(few, many)
    assert sorted(many[asked.area][:, 0].round().tolist()) == [0, 0, 2, 2]
    assert not ColourMode(True, "depth").moved(few, many).is_asking


def test_what_a_side_lacks_of_the_other_is_said():
    assert texts.unlike_left(ColourMode(True, "depth"), "depth") == ""
    assert "Not there on the right" in texts.unlike_left(ColourMode(True, "things"), "photo")
    asked = texts.unlike_left(ColourMode(True, "depth", point=0), "depth", "<b>")
    assert "left alone" in asked
    assert "&lt;b&gt;" in asked


@pytest.mark.parametrize("step_bytes", [10**9, 2000, 700])
def test_cells_stand_where_their_grid_says(step_bytes, monkeypatch):
    monkeypatch.setattr(view_slices, "FEATURE_BYTES", step_bytes)
    grid = FeatureGrid(12, 16, 4.0, 4.0)
    place = view_slices.view_slices([("a", camera(), grid), ("b", camera(), grid)], 2)[1]
    uv = torch.stack(torch.meshgrid(4 * torch.arange(16.0) + 2, 4 * torch.arange(12.0) + 2, indexing="xy"), -1)
    held = place.thinned(uv.permute(2, 0, 1))
    assert tuple(held.shape[1:]) == (place.grid.rows, place.grid.cols)
    at = place.cells_at(held.flatten(1).T)
    assert at.tolist() == list(range(place.cells.start, place.cells.stop))


def test_every_grid_covers_the_picture():
    grid = FeatureGrid(2, 3, 16.0, 16.0, 8.0, 8.0)
    place = view_slices.view_slices([("a", camera(), grid)], 4)[0]
    assert place.cells_at(torch.tensor([[0.0, 0.0], [64.0, 48.0], [30.0, 30.0]])).tolist() == [0, 5, 4]
    assert sorted(set(place.cells_at(place.pixel_centers()).flatten().tolist())) == list(range(6))


def test_heat_reaches_from_cold_to_hot_and_leaves_what_is_missing_grey():
    levels = similarity_levels(torch.tensor([-1.0, 0.0, 1.0, 2.0, torch.nan]), (0.0, 1.0))
    assert levels.tolist() == [0, 0, 255, 255, 256]
    table = similarity_table()
    assert int(table[0, 2]) > int(table[0, 0])
    assert int(table[255, 0]) > int(table[255, 2])
    assert len(set(table[256].tolist())) == 1


def test_asking_where_there_is_no_answer_is_said(viewed):
    seen = viewed["hog"]
    unit = seen.lifted.unit.clone()
    unit[seen.point_cells[0]] = torch.nan
    hollow = replace(seen, lifted=replace(seen.lifted, unit=unit))
    mode = ColourMode(True, point=0)
    colours = colours_of(hollow, mode)
    assert colours.limits is None
    assert "no lifted answer" in texts.explanation(mode, "", colours.limits)


def test_names_with_html_in_them_are_text(viewed):
    bad = "<img src=x onerror=alert(1)>"
    asked = ColourMode(True, texts=torch.ones(1, 1))
    said = [texts.summary(bad, viewed["rgb"], 1), texts.explanation(asked, bad, (0.5, 0.7)), texts.through(bad)]
    for content in (*said, texts.trouble(bad)):
        assert "<img" not in content
        assert "&lt;img" in content
