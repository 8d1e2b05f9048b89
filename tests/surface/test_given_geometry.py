"""Surfaces that were made elsewhere: exact where they fit, alike in any order and frame, else refused."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lift3d.domain.camera import ImageSize
from lift3d.domain.scene import Tracks
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.geometry.rasterization import mesh_depth
from lift3d.surface.catalog import build_geometry
from lift3d.surface.given import geometry_given
from tests.support import surfaces
from tests.support.lifting import share, situation
from tests.support.scenes import moved_camera, some_motion, two_planes_scene
from tests.support.surfaces import errors_of, no_tracks


def estimate(kind, path, guides, depth_range, find_tracks=no_tracks):
    return build_geometry(f"{kind}?path={path}").estimate(guides, depth_range, find_tracks)


def frames_of(guides):
    return {guide.id: SimpleNamespace(camera=guide.camera, z_depth=guide.z_depth) for guide in guides}


def write(kind, folder, guides):
    """The surface that the guides' own depth shows, as a file of a kind."""
    if kind == "colmap":
        return surfaces.write_workspace(folder / "dense", frames_of(guides))
    vertices, triangles = surfaces.mesh_of(frames_of(guides).values())
    path = folder / f"{kind}.ply"
    if kind == "mesh":
        return surfaces.write_mesh(path, vertices, triangles)
    if kind == "points":
        return surfaces.write_points(path, vertices)
    pixel = float(torch.cat([one.z_depth.flatten() for one in guides]).nanmedian() / guides[0].camera.K[0, 0])
    return surfaces.write_splats(path, vertices, 0.5 * pixel)


@pytest.fixture(scope="module")
def planes():
    """Guides of all five views of a card before a wall, and the depth range."""
    return situation(two_planes_scene(), target=None)[1:]


@pytest.fixture(scope="module", params=["mesh", "points", "splats", "colmap"])
def given(request, planes, tmp_path_factory):
    """A kind, its file, and what it says of the views."""
    kind = request.param
    path = write(kind, tmp_path_factory.mktemp(kind), planes[0])
    return kind, path, estimate(kind, path, *planes)


def test_depth_is_that_of_the_surface_whatever_the_order_of_the_views_and_their_world(given, planes, tmp_path):
    kind, path, found = given
    errors = errors_of(found, planes[0])
    assert float(errors.nan_to_num(9.0).median()) < 0.003
    # Round splats reach over the edges of the card.
    assert share(errors < 0.02) > (0.87 if kind == "splats" else 0.93)
    assert found.method == kind
    assert all(bool((one.confidence[torch.isfinite(one.z_depth)] > 0).all()) for one in found.views.values())
    surfaces.order_changes_no_bit(lambda *views: estimate(kind, path, *views), *planes, found)

    def of_its_own_file(guides, depth_range):
        return estimate(kind, write(kind, tmp_path, guides), guides, depth_range)

    surfaces.another_world_scales_depth_alone(of_its_own_file, *planes, found, most=0.02)


def test_a_ray_meets_the_nearest_triangle_even_where_that_reaches_behind_the_camera():
    """A floor one unit below a camera that stands on it: z = f / (v − cy) down to the horizon, cut where it is near."""
    floor = torch.tensor([[-99.0, 1, -99], [99, 1, -99], [99, 1, 99], [-99, 1, 99]], dtype=torch.float64)
    K = torch.tensor([[20.0, 0, 16], [0, 20, 12], [0, 0, 1]], dtype=torch.float64)
    lattice = (24, 32, (1.0, 1.0), (0.0, 0.0))
    z = mesh_depth(floor, torch.tensor([[0, 1, 2], [0, 2, 3]]), K, (24, 32), lattice, near=2.0)
    expected = 20 / (torch.arange(24) + 0.5 - 12)
    expected = torch.where((expected >= 2) & (expected <= 99), expected, torch.nan)
    torch.testing.assert_close(z, expected[:, None].expand(24, 32), equal_nan=True)


def test_views_without_a_depth_map_stay_unknown_and_photometric_maps_are_less_sure(planes, tmp_path):
    guides, depth_range = planes
    root = write("colmap", tmp_path, guides)
    maps = root / "stereo" / "depth_maps"
    (maps / "0001.png.geometric.bin").unlink()
    (maps / "0002.png.geometric.bin").rename(maps / "0002.png.photometric.bin")
    found = estimate("colmap", root, guides, depth_range).views
    assert bool(torch.isnan(found["0001"].z_depth).all())
    assert float(found["0002"].confidence.max()) == 0.5
    assert float(found["0003"].confidence.max()) == 1.0


def test_a_workspace_may_have_another_world_and_other_undistorted_images(planes, tmp_path):
    """Depth maps know no world: theirs may be turned, moved and scaled; and undistorted images show more or less."""
    guides, depth_range = planes
    other = {}
    for name, frame in frames_of(guides).items():
        wider = moved_camera(frame.camera.cropped(-2, -4, ImageSize(52, 72)), some_motion(), 3.0)
        z_depth = torch.nn.functional.pad(3.0 * frame.z_depth, (4, 4, 2, 2))
        other[name] = SimpleNamespace(camera=wider, z_depth=z_depth)
    errors = errors_of(estimate("colmap", surfaces.write_workspace(tmp_path, other), guides, depth_range), guides)
    assert float(errors.nan_to_num(9.0).median()) < 1e-3
    assert share(errors < 0.02) > 0.93


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda xyz: 1000 * xyz, r"Scaled by 0\.001"),
        (lambda xyz: 0.01 * xyz, r"Scaled by 100 "),
        (lambda xyz: xyz * [1, -1, -1], r"axes turned to"),
        (lambda xyz: xyz + np.array([50, 0, 0]), r"none of them sees anything"),
        (lambda xyz: xyz + np.array([0, 0, 0.6]), r"near that depth at \d+\. Bring it"),
    ],
)
@pytest.mark.parametrize("kind", ["mesh", "points"])
def test_a_surface_in_another_frame_or_unit_is_refused_and_the_unit_named(kind, change, message, planes, tmp_path):
    guides, depth_range = planes
    vertices, triangles = surfaces.mesh_of(frames_of(guides).values())
    path, xyz = tmp_path / "it.ply", change(vertices)
    if kind == "mesh":
        surfaces.write_mesh(path, xyz, triangles)
    else:
        surfaces.write_points(path, xyz)
    with pytest.raises(SceneFormatError, match=message):
        estimate(kind, path, guides, depth_range)


def test_without_sensors_triangulated_points_are_the_witnesses(planes, tmp_path):
    guides, depth_range = planes
    blind = [dataclasses.replace(guide, z_depth=None) for guide in guides]
    # On the wall, beside the card and its shadow.
    across = torch.linspace(0.75, 1.0, 99, dtype=torch.float64)
    points = torch.stack([across, across - 0.9, torch.full_like(across, 3.0)], dim=-1)
    at = torch.arange(99).repeat(2)
    view = torch.arange(2).repeat_interleave(99)
    uv = []
    for guide in guides[:2]:
        xyz = (points @ guide.camera.w2c[:3, :3].T + guide.camera.w2c[:3, 3]) @ guide.camera.K.T
        uv.append(xyz[:, :2] / xyz[:, 2:])
    tracks = Tracks(points, at, view, torch.cat(uv), ("0000", "0001"))
    good, bad = write("mesh", tmp_path, guides), tmp_path / "bad.ply"
    vertices, triangles = surfaces.mesh_of(frames_of(guides).values())
    surfaces.write_mesh(bad, 1.3 * vertices, triangles)
    found = estimate("mesh", good, blind, depth_range, lambda: tracks)
    assert share(errors_of(found, guides) < 0.01) > 0.93
    with pytest.raises(SceneFormatError, match=r"does not fit"):
        estimate("mesh", bad, blind, depth_range, lambda: tracks)


PLY = "ply\nformat binary_little_endian 1.0\n"
XYZ = "property float x\nproperty float y\nproperty float z\n"
FACE = "property list uchar int vertex_indices\n"


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("mesh", b"", "it is empty"),
        ("mesh", b"solid", "does not begin as a PLY"),
        ("mesh", f"{PLY}element vertex 0\n{XYZ}end_header\n".encode(), "it has no faces"),
        ("points", f"{PLY}element vertex 0\n{XYZ}end_header\n".encode(), "0 points"),
        ("points", f"{PLY}element vertex 99999999999\n{XYZ}end_header\n".encode() + bytes(99), "promises"),
        ("mesh", f"{PLY}element vertex 3\n{XYZ}element face 88888888888\n{FACE}end_header\n".encode(), "promises"),
        (
            "mesh",
            f"{PLY}element vertex 3\n{XYZ}element face 1\n{FACE}end_header\n".encode() + bytes(36) + b"\3" + b"\7" * 12,
            "name vertices from",
        ),
        (
            "mesh",
            f"{PLY}element vertex 3\n{XYZ}element face 2\n{FACE}end_header\n".encode() + bytes(36) + b"\3" + bytes(19),
            "not all triangles",
        ),
        ("splats", f"{PLY}element vertex 1\n{XYZ}end_header\n".encode() + bytes(12), "no opacity, scale_0"),
    ],
)
def test_files_that_lie_or_lack_something_are_refused_in_one_sentence(kind, content, message, planes, tmp_path):
    path = tmp_path / "it.ply"
    path.write_bytes(content)
    with pytest.raises(SceneFormatError, match=message):
        estimate(kind, path, *planes)


def other_images(root, guides):
    for one in (root / "stereo" / "depth_maps").iterdir():
        one.rename(one.with_name(f"other-{one.name}"))


def other_cameras(root, guides):
    (root / "sparse" / "frames.bin").unlink(missing_ok=True)
    turned = dict(zip(frames_of(guides), list(frames_of(guides).values())[::-1], strict=True))
    surfaces.write_workspace(root / "again", turned)
    for one in (root / "again" / "sparse").iterdir():
        one.replace(root / "sparse" / one.name)


def written(content):
    def write_map(root, guides):
        for one in (root / "stereo" / "depth_maps").iterdir():
            one.write_bytes(content)

    return write_map


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_images, "holds no depth map of the 5 images"),
        (other_cameras, "are not those of the scene"),
        (written(b""), "0×0 pixels of 0 channels in 0 bytes"),
        (written(b"64&48&1&" + bytes(8)), "64×48 pixels of 1 channels in 8 bytes"),
        (written(b"999999999&999999999&1&" + bytes(8)), "no depth map of COLMAP"),
        (written(b"48&64&1&" + np.ones(48 * 64, "<f4").tobytes()), "that of another image"),
        (written(b"64&48&1&" + bytes(4 * 48 * 64)), "none of them sees anything"),
        (written(b"64&48&1&" + np.ones(48 * 64, "<f4").tobytes()), "does not fit the views"),
    ],
)
def test_depth_maps_of_other_images_or_cameras_are_refused(spoil, message, planes, tmp_path):
    guides, depth_range = planes
    root = write("colmap", tmp_path, guides)
    spoil(root, guides)
    with pytest.raises(SceneFormatError, match=message):
        estimate("colmap", root, guides, depth_range)


def found_in(folder, wanted=None, has_depth=False):
    return [one.shown_as for one in geometry_given(str(folder), wanted, has_depth=has_depth)]


def test_a_scene_has_what_its_folder_holds_and_a_name_is_looked_up_there(planes, tmp_path):
    guides, _ = planes
    scene = tmp_path / "scene"
    scene.mkdir()
    assert found_in(scene) == ["sweep"]
    write("colmap", scene, guides)
    surfaces.write_points(scene / "fused.ply", np.zeros((9, 3)))
    surfaces.write_splats(scene / "splat.ply", np.zeros((9, 3)), 0.1)
    (scene / "mesh.ply").write_bytes(b"no mesh")
    assert found_in(scene) == ["colmap 'dense'", "points 'fused.ply'", "splats 'splat.ply'", "sweep"]
    assert found_in(scene, has_depth=True) == ["sensor"]
    assert found_in(scene, "points?path=splat.ply") == ["points 'splat.ply'"]
    assert found_in(scene, "splats") == ["splats 'splat.ply'"]
    outside = surfaces.write_points(tmp_path / "outside.ply", np.zeros((9, 3)))
    assert found_in(scene, f"points?path={outside}") == ["points 'outside.ply'"]
    (scene / "link.ply").symlink_to(outside)
    for name in ("points?path=../outside.ply", "points?path=link.ply"):
        with pytest.raises(SceneFormatError, match="leads out of"):
            found_in(scene, name)
    for name in ("points?path=gone.ply", "mesh", "points?path=/gone.ply"):
        with pytest.raises(SceneFormatError, match="no "):
            found_in(scene, name)
    for name in ("sweep?path=a.ply", "mesh?file=a.ply", "mesh?path=", "mesh?path=s3://key:word@bucket/a.ply"):
        with pytest.raises(ConfigError) as raised:
            found_in(scene, name)
        assert "word@" not in str(raised.value)


def test_the_digest_is_that_of_the_bytes(planes, tmp_path):
    path = surfaces.write_points(tmp_path / "fused.ply", np.zeros((9, 3)))
    (one, _), content = geometry_given(str(tmp_path), None, has_depth=False), path.read_bytes()
    path.write_bytes(content[:-1] + b"\1")
    (other, _) = geometry_given(str(tmp_path), None, has_depth=False)
    assert one.spec.content != other.spec.content
