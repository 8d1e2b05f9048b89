import dataclasses
import pickle

import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.keys import digest
from lift3d.domain.scene import Scene
from lift3d.errors import ConfigError, ImageError, UnknownNameError
from lift3d.geometry.projection import project, unproject
from lift3d.geometry.rays import baseline_angle, cell_centers
from lift3d.geometry.rigid import inverse, transform
from lift3d.synthetic.families import FAMILIES, build_world, camera_path
from lift3d.synthetic.reader import CONTENT_VERSION, ProceduralFrame, ProceduralReader
from lift3d.synthetic.world import Shape, to_local
from tests.support.warping import correspondences, warp


def _read(query: str) -> Scene:
    return ProceduralReader().read(f"procedural:{query}")


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def small_scene(request: pytest.FixtureRequest) -> Scene:
    return _read(f"{request.param}?seed=1&views=5&height=60&width=80")


def test_every_pixel_is_known_an_instance_has_one_class_and_sizes_agree(small_scene: Scene) -> None:
    frames = [view.load() for view in small_scene.views]
    for frame in frames:
        assert frame.is_valid.all()
        assert 0 <= frame.image.min() <= frame.image.max() <= 1
        near, far = small_scene.depth_range.near, small_scene.depth_range.far
        assert near <= frame.z_depth.min() <= frame.z_depth.max() <= far
    labels = torch.cat([frame.labels.reshape(-1) for frame in frames if frame.labels is not None])
    instances = torch.cat([frame.instances.reshape(-1) for frame in frames if frame.instances is not None])
    assert set(labels.unique().tolist()) <= set(small_scene.label_names)
    assert labels.unique().numel() >= 4
    for instance in instances.unique():
        assert labels[instances == instance].unique().numel() == 1
    # A render at a quarter of the size is what averaging gives: textures are filtered, not aliased.
    view = small_scene.views[1]
    coarse, fine = view.load(60), view.load(240)
    averaged = torch.nn.functional.avg_pool2d(fine.image, 4)
    assert (averaged - coarse.image).abs().mean() < 0.03
    assert coarse.image.std() > 0.08


def test_points_at_the_exact_depth_lie_on_a_surface(small_scene: Scene) -> None:
    family = small_scene.location.removeprefix("procedural:").partition("?")[0]
    world = build_world(family, 1)
    frame = small_scene.views[0].load()
    uv = cell_centers(60, 80).reshape(-1, 2).double()
    xyz_cam = unproject(uv, frame.z_depth.reshape(-1).double(), frame.camera.K)
    xyz = transform(frame.camera.c2w, xyz_cam)
    unit = to_local(xyz[:, None] - world.center, world.axes) / world.half_size
    flat, round_ = unit.abs().amax(-1), unit.norm(dim=-1)
    tube = torch.maximum(unit[..., :2].norm(dim=-1), unit[..., 2].abs())
    level = torch.where(world.shape == Shape.BALL, round_, torch.where(world.shape == Shape.TUBE, tube, flat))
    # Half sizes go down to 6 mm at 3 m in float32 depth, hence the tolerance in unit coordinates.
    assert ((level - 1).abs().amin(-1) < 1e-3).all()
    assert (level[:, 1:].amin(-1) > 1 - 1e-3).all()


def test_views_agree_where_they_see_the_same_surface(small_scene: Scene) -> None:
    a, b = (view.load(120) for view in small_scene.views[2:4])
    ends = ((a.camera.K, a.camera.w2c), (b.camera.K, b.camera.w2c))
    uv_b, is_seen = correspondences(a.z_depth, b.z_depth, *ends, relative_tolerance=0.005)
    seen_in_b = warp(b.image, uv_b)
    difference = (seen_in_b - a.image).abs().mean(0)[is_seen]
    shuffled = (b.image - a.image).abs().mean()
    assert is_seen.float().mean() > 0.5
    assert difference.median() < 0.03
    assert difference.median() < 0.4 * shuffled


def test_neighbouring_views_are_a_few_degrees_apart() -> None:
    for family in FAMILIES:
        scene = _read(f"{family}?views=12&height=12&width=16")
        angles = [
            float(baseline_angle(scene.points, a.camera.center, b.camera.center).median().rad2deg())
            for a, b in zip(scene.views, scene.views[1:], strict=False)
        ]
        assert 0.3 < min(angles) <= max(angles) < 5


def test_cameras_stand_in_free_space() -> None:
    for family in FAMILIES:
        centers = [inverse(w2c)[:3, 3] for w2c in camera_path(family, 20, 5.0)]
        for world in (build_world(family, seed) for seed in range(3)):
            for center in centers:
                unit = to_local(center - world.center, world.axes).abs() - world.half_size
                assert unit[0].amax() < -0.3
                assert (unit[1:].amax(-1) > 0.3).all()


def test_points_are_on_the_surface() -> None:
    scene = _read("room?views=4&height=60&width=80")
    frame = scene.views[0].load()
    uv, _ = project(transform(frame.camera.w2c, scene.points), frame.camera.K)
    inside = (uv > 0).all(-1) & (uv < torch.tensor([80, 60])).all(-1)
    z = transform(frame.camera.w2c, scene.points)[inside, 2]
    cells = uv[inside].long()
    shown = frame.z_depth[cells[:, 1], cells[:, 0]]
    # Nothing floats in front of what the view shows, up to the slope inside one pixel.
    assert (z > 0.93 * shown).float().mean() > 0.99
    assert ((z / shown - 1).abs() < 0.03).float().mean() > 0.6


def test_equal_locations_give_equal_scenes_in_another_process_image() -> None:
    a, b = (_read("tabletop?seed=5&views=3&height=30&width=40").views[1] for _ in range(2))
    assert torch.equal(a.load(30).image, pickle.loads(pickle.dumps(b.source)).load(b.camera, b.camera.size).image)
    assert a.source.content_digest() == b.source.content_digest()
    digests = {view.source.content_digest() for view in _read("tabletop?seed=5&views=3").views}
    assert len(digests) == 3
    other = _read("tabletop?seed=6&views=3&height=30&width=40").views[1]
    assert not torch.equal(a.load().image, other.load().image)


def test_depth_and_labels_can_be_hidden() -> None:
    scene = _read("shelf?views=2&height=24&width=32&depth=0&labels=0")
    frame = scene.views[0].load()
    assert not scene.has_depth
    assert frame.z_depth is None
    assert frame.labels is None
    assert frame.instances is None
    assert scene.label_names == {}
    assert scene.id == "shelf-0-views2-height24-width32-depth0-labels0"


@pytest.mark.parametrize(
    ("query", "error", "says"),
    [
        ("rom", UnknownNameError, "Did you mean 'room'"),
        ("room?sead=1", UnknownNameError, "Did you mean 'seed'"),
        ("room?views=many", ConfigError, "not a number"),
        ("room?views=", ConfigError, "not a number"),
        ("room?views=0", ConfigError, "out of range"),
        ("room?height=5000", ConfigError, "out of range"),
        ("room?fov_deg=nan", ConfigError, "out of range"),
        ("room?seed=1&seed=2", ConfigError, "twice"),
    ],
)
def test_wrong_locations_say_what_is_wrong(query: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        _read(query)


def test_frames_are_the_callers_own_and_a_foreign_camera_and_another_scheme_are_refused() -> None:
    view = _read("room?views=2&height=24&width=32").views[0]
    view.load().image.zero_()
    assert view.load().image.max() > 0
    with pytest.raises(ImageError, match="own camera"):
        view.source.load(view.camera.resized(ImageSize(12, 16)), ImageSize(12, 16))
    assert not ProceduralReader().recognizes("/data/procedural:room")


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_walls_have_one_colour_and_all_else_stays(family: str) -> None:
    usual, plain = (_read(f"{family}?seed=3&views=2&height=48&width=64&plain={plain}") for plain in (0, 1))
    assert plain.id.endswith("-plain1")
    a, b = (one.views[0].load() for one in (usual, plain))
    assert torch.equal(a.z_depth, b.z_depth)
    assert torch.equal(a.labels, b.labels)
    # Instances of the shell come first: four walls, the ground, and what is above. Pixels show what is
    # at their middles and at outlines, and now and then something thinner.
    is_plain = ((a.instances < 6) & (a.instances != 4)).float()[None]
    is_other, is_inside = (torch.nn.functional.max_pool2d(one, 3, 1, 1)[0] == 0 for one in (is_plain, 1 - is_plain))
    assert (a.image == b.image)[:, is_other].float().mean() > 0.9
    assert not torch.equal(a.image[:, is_inside], b.image[:, is_inside])
    # What is left is shading, which is smooth.
    wall = torch.where(is_inside & (b.instances == int(b.instances[is_inside].mode().values)), b.image[0], torch.nan)
    assert wall.diff(dim=1).abs().nanmedian() < 0.004


def test_locations_without_later_options_keep_their_digests() -> None:
    source = _read("room?seed=0&views=2&height=48&width=64").views[0].source
    assert isinstance(source, ProceduralFrame)
    said = {**dataclasses.asdict(source.spec), "index": 0, "version": CONTENT_VERSION}
    del said["plain"], said["times"]
    assert source.content_digest() == digest(said)
    for option in ("plain=1", "times=2"):
        other = _read(f"room?seed=0&views=2&height=48&width=64&{option}").views[0].source
        assert other.content_digest() != digest(said)
