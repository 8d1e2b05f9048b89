"""What other systems write of a surface: the same bits in any format of meshes, depth maps in any kind and unit."""

import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh

from lift3d.errors import ConfigError, SceneError, SceneFormatError
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.file_limits import read_map
from lift3d.scenes.mesh_files import read_mesh
from lift3d.surface.catalog import build_geometry
from lift3d.surface.given import geometry_given
from tests.support import surfaces
from tests.support.lifting import same_bits, share, situation
from tests.support.scenes import two_planes_scene
from tests.support.surfaces import errors_of, no_tracks


@pytest.fixture(scope="module")
def planes():
    """Guides of all five views of a card before a wall, and the depth range."""
    return situation(two_planes_scene(), target=None)[1:]


def frames_of(guides):
    return {guide.id: SimpleNamespace(camera=guide.camera, z_depth=guide.z_depth) for guide in guides}


def write_as(path, vertices, triangles):
    """Write the very numbers, in a form with all of their digits."""
    mesh = trimesh.Trimesh(vertices, triangles, process=False)
    if path.suffix == ".obj":
        lines = [*("v {!r} {!r} {!r}".format(*row) for row in vertices.tolist())]
        path.write_text("\n".join([*lines, *("f {} {} {}".format(*row) for row in (triangles + 1).tolist())]))
    else:
        mesh.export(path, **({"digits": 20} if path.suffix == ".off" else {}))
    return path


@pytest.mark.parametrize("suffix", ["obj", "off", "stl", "glb"])
def test_a_mesh_gives_the_same_bits_whatever_its_format(suffix, planes, tmp_path):
    guides, depth_range = planes
    vertices, triangles = surfaces.mesh_of(frames_of(guides[:3]).values(), step=2)
    vertices = vertices.astype(np.float32).astype(np.float64)
    wanted = surfaces.write_mesh(tmp_path / "mesh.ply", vertices, triangles)
    path = write_as(tmp_path / f"mesh.{suffix}", vertices, triangles)
    both = [build_geometry(f"mesh?path={one}").estimate(guides, depth_range, no_tracks) for one in (wanted, path)]
    for name, view in both[0].views.items():
        same_bits(both[1].views[name].z_depth, view.z_depth)
    (found, _) = geometry_given(str(tmp_path), None, has_depth=False)
    assert found.shown_as == "mesh 'mesh.ply'"
    wanted.unlink()
    (found, _) = geometry_given(str(tmp_path), None, has_depth=False)
    assert found.shown_as == f"mesh 'mesh.{suffix}'"


def test_a_part_of_a_scene_is_taken_and_a_turned_room_that_looks_alike_is_not(tmp_path):
    """Of a room whose walls lie as far on both sides, some are where they were if it is turned upside down."""
    _, guides, depth_range = situation(
        read_scene("procedural:room?seed=9000&views=8&height=48&width=64&spacing=2"), None
    )
    vertices, triangles = surfaces.mesh_of(frames_of(guides).values())
    part = triangles[(vertices[triangles][:, :, 2] < 0.05).all(axis=1)]
    path = surfaces.write_mesh(tmp_path / "part.ply", vertices, part)
    assert build_geometry(f"mesh?path={path}").estimate(guides, depth_range, no_tracks).views
    surfaces.write_mesh(path, vertices * [1, -1, -1], triangles)
    with pytest.raises(SceneFormatError, match=r"axes turned to \(x, -y, -z\)"):
        build_geometry(f"mesh?path={path}").estimate(guides, depth_range, no_tracks)


def glb(document, binary=b""):
    text = json.dumps({"asset": {"version": "2.0"}, **document}).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(binary), 0x004E4942) + binary if binary else b""
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def accessor(count, **more):
    return {"componentType": 5126, "type": "VEC3", "count": count, **more}


PART = {"primitives": [{"attributes": {"POSITION": 0}}]}
TRIANGLE = {
    "buffers": [{"byteLength": 36}],
    "bufferViews": [{"buffer": 0, "byteLength": 36}],
    "accessors": [accessor(3, bufferView=0)],
    "meshes": [PART],
}


def placed(count):
    return {**TRIANGLE, "nodes": [{"mesh": 0}] * count, "scenes": [{"nodes": [*range(count)]}]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("it.obj", b"", "it is empty"),
        ("it.obj", b"v 0 0 0\n" * 9, "no triangles"),
        ("it.obj", b"v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 9\n", "it.obj' is not readable as"),
        ("it.off", b"OFF\n3 99999999999 0\n0 0 0\n1 0 0\n1 1 0\n", "is not readable as .off"),
        ("it.off", b"PLY of another kind, renamed", "is not readable as .off"),
        ("it.stl", bytes(80) + struct.pack("<I", 2**31) + bytes(50), "is not readable as .stl"),
        ("it.glb", b"glTF", "it ends early"),
        ("it.glb", glb({})[:-4] + b"    ", "no triangles|is not readable"),
        ("it.glb", glb(placed(1), bytes(36))[:-9], "ends early"),
        ("it.glb", glb({"accessors": [accessor(2**40)], "meshes": [PART]}), "promise numbers that it does not hold"),
        ("it.glb", glb({"buffers": [{"uri": "/etc/passwd", "byteLength": 9}]}), "names other files"),
        ("it.glb", glb({"extensionsRequired": ["KHR_draco_mesh_compression"]}), "without compression"),
        ("it.glb", glb({**placed(2), "nodes": [{"children": [1, 1]}, {"mesh": 0}]}, bytes(36)), "no tree"),
        ("it.glb", glb(placed(100_001), bytes(36)), "no tree, or too many"),
        ("it.fbx", b"Kaydara", "no mesh that is read"),
    ],
)
def test_a_mesh_that_is_none_or_promises_too_much_is_refused_in_words(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneFormatError, match=message):
        read_mesh(tmp_path / name)


def test_parts_of_a_glb_stand_where_their_nodes_place_them(tmp_path):
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=np.float32)
    turned = {"mesh": 0, "translation": [0, 0, 2], "scale": [3, 3, 3]}
    document = {**TRIANGLE, "nodes": [{"mesh": 0}, turned], "scenes": [{"nodes": [0, 1]}]}
    (tmp_path / "it.glb").write_bytes(glb(document, corners.tobytes()))
    xyz, triangles = read_mesh(tmp_path / "it.glb")
    found = sorted(xyz[triangles].tolist(), key=lambda one: one[0][2])
    assert found == [corners.tolist(), (3 * corners + [0, 0, 2]).tolist()]


def estimate(path, planes, options="", find_tracks=no_tracks):
    return build_geometry(f"depths?path={path}{options}").estimate(*planes, find_tracks)


@pytest.mark.parametrize(
    ("form", "unit", "power", "options"),
    [
        ("{}.npy", 1.0, 0, ""),
        ("{}_depth.npz", 1.0, 0, ""),
        ("depth_{}.png", 0.001, 0, ""),
        ("a/depth{}.png", 1 / 6553.5, 0, f"&unit={1 / 6553.5}"),
        ("frame-{}.raw.npy", 0.01, 1, "&unit=0.01&ray=1"),
    ],
)
def test_depth_maps_are_read_by_the_names_of_the_views_in_their_unit_and_kind(
    form, unit, power, options, planes, tmp_path
):
    path = (
        surfaces.write_depths(tmp_path / "maps", frames_of(planes[0]), form, unit, power) if "/" not in form else None
    )
    if path is None:
        (tmp_path / "maps").mkdir()
        path = surfaces.write_depths(tmp_path / "maps/a", frames_of(planes[0]), form[2:], unit, power).parent
    (path / ".hidden.npy").write_bytes(b"")
    errors = errors_of(estimate(path, planes, options), planes[0])
    assert float(errors.nan_to_num(9.0).median()) < 1e-3
    assert share(errors < 0.01) > 0.97


def test_a_view_without_a_map_stays_unknown_and_reading_otherwise_is_another_surface(planes, tmp_path):
    path = surfaces.write_depths(tmp_path / "maps", frames_of(planes[0]))
    (path / "0001_depth.npy").unlink()
    assert not bool((estimate(path, planes).views["0001"].confidence > 0).any())
    names = [f"depths?path=maps{one}" for one in ("", "&unit=0.5", "&ray=1")]
    contents = {next(geometry_given(str(tmp_path), one, has_depth=False)).spec.content for one in names}
    assert len(contents) == 3
    for wrong in ("&unit=-1", "&unit=x", "&ray=yes", "&rays=1", "&unit=inf"):
        with pytest.raises(ConfigError, match="takes '&unit='"):
            build_geometry(f"depths?path={path}{wrong}")


@pytest.mark.parametrize(
    ("unit", "power", "options", "message"),
    [
        (1.0, 0, "&unit=1000", r"Scaled by 0\.001 it would fit"),
        (1.0, 0, "&unit=0.1", r"Scaled by 10 it would fit"),
        (1.0, 1, "", r"As the distance along the ray it would fit: add '&ray=1'"),
        (1.0, 0, "&ray=1", r"As z-depth it would fit: leave '&ray=1' away"),
        (1.0, 1, "&unit=100", r"Scaled by 0\.01"),
    ],
)
def test_depth_in_another_unit_or_along_rays_is_refused_with_what_would_fit(
    unit, power, options, message, planes, tmp_path
):
    path = surfaces.write_depths(tmp_path / "maps", frames_of(planes[0]), unit=unit, power=power)
    with pytest.raises(SceneFormatError, match=message):
        estimate(path, planes, options)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no depth map of any of the 5 views.*has no .npy"),
        (lambda path: np.save(path / "other.npy", np.ones((48, 64))), "no depth map of any of the 5 views.*'other'"),
        (lambda path: np.save(path / "0000.npy", np.ones((64, 48))), "expected the same proportions"),
        (lambda path: np.save(path / "0000.npy", np.ones((48, 64, 3))), "one number per pixel"),
        (lambda path: np.save(path / "0000.npy", np.array([{}]), allow_pickle=True), "not readable as an array"),
        (lambda path: np.savez(path / "0000.npz", a=np.ones(3), b=np.ones(3)), "one map, or one named 'depth'"),
        (lambda path: (path / "0000.npz").write_bytes(b"PK\x03\x04"), "not readable as an array"),
        (lambda path: surfaces.write_grey(path / "0000.png"), "a picture of depth, not depth"),
        (lambda path: (path / "0000.exr").write_bytes(b"v/1\x01"), "has no .npy.*but '0000.exr'"),
        (lambda path: np.save(path / "0000.npy", np.full((48, 64), np.nan)), "none of them sees anything"),
        (lambda path: (path / "0000.npy").symlink_to("/etc/hostname"), "leads out of"),
    ],
)
def test_folders_that_hold_no_depth_are_refused_in_words(write, message, planes, tmp_path):
    (tmp_path / "maps").mkdir()
    write(tmp_path / "maps")
    with pytest.raises(SceneError, match=message):
        estimate(tmp_path / "maps", planes)


def test_what_unpacks_to_more_than_a_map_is_not_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "it.npz", depth=np.zeros(999))
    with pytest.raises(SceneFormatError, match="unpacks to 8120 bytes; at most 8000 are read"):
        read_map(tmp_path / "it.npz", 8000)
