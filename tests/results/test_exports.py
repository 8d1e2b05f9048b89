import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import trimesh
import xarray
from plyfile import PlyData

import lift3d
from lift3d.errors import CameraError, ConfigError, SceneError, SceneFormatError, UnknownNameError
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rigid import transform
from lift3d.pipeline.decode import COVERED
from lift3d.results.cloud import Cloud, scene_cloud
from lift3d.results.exports.files import UNKNOWN_ID, file_names, world_words, write_ids
from lift3d.results.exports.ply import predicted_columns, write_ply
from lift3d.results.exports.write import FORMS, ExportForm, export_lifted
from lift3d.results.lifted_scene import HeldCapture
from lift3d.results.opened import open_lifted
from lift3d.scenes.ply import read_ply_points
from tests.support.runs import ROOM, run_into, small_recipe

CLASSES = ("floor", "wall", "other")
CHECKER, CHECKED = "tests.support.operators:CheckerOperator", "checker:8?stride=4"
STRANGE = ("../../evil", "a/b", "A/B", "<script>alert(1)</script>", "кухня", "con" * 40)


@pytest.fixture(scope="module")
def scene():
    return lift3d.read_scene(ROOM)


@pytest.fixture(scope="module")
def lifted(tmp_path_factory, scene):
    """A run of a small room on its true depth: pictures, true labels, true depth as a scalar, eight features."""
    folder = tmp_path_factory.mktemp("exported")
    for view in scene.views:
        frame = view.load(48)
        np.save(folder / f"{view.id}.npy", frame.z_depth.numpy())
        ids = true_class(frame.labels)
        for number, name in enumerate(CLASSES):
            np.save(folder / f"{view.id}.{name}.npy", (ids == number).float().numpy())
    labels = f"files:{folder}?pattern={{view}}.{{name}}.npy&names={','.join(CLASSES)}"
    truths = (f"{labels}&kind=labels", f"{labels}&kind=masks", f"files:{folder}?pattern={{view}}.npy")
    operators, url = ["rgb", *truths, CHECKED], str(folder / "store")
    run_into(url, small_recipe(operators=operators, lifters=["anchored"], metrics=["coverage"], plugins=[CHECKER]))
    lifted = {one.view("0002").prediction.kind: one for one in lift3d.lifted_scenes(url)}
    assert set(lifted) == {"image", "labels", "masks", "scalar", "embedding"}
    return lifted


def true_class(labels):
    return torch.where(labels > 1, 2, labels)


def nearest_surface(scene, points):
    """Return how far points are from the surface, as a share of z-depth, where that is least, and the class there."""
    off, found = torch.full((len(points),), torch.inf, dtype=torch.float64), torch.full((len(points),), -1)
    for view in scene.views:
        frame = view.load(96)
        xyz_cam = transform(frame.camera.w2c, points)
        uv, _ = project(xyz_cam, frame.camera.K)
        inside = is_inside(uv, 96, 128)
        at = torch.nan_to_num(uv).long()
        row, col = at[:, 1].clamp(0, 95), at[:, 0].clamp(0, 127)
        share = ((xyz_cam[:, 2] - frame.z_depth[row, col]).abs() / xyz_cam[:, 2]).where(inside, torch.inf)
        found = torch.where(share < off, true_class(frame.labels)[row, col], found)
        off = torch.minimum(off, share)
    return off, found


def test_points_lie_on_the_true_surface_with_its_labels(lifted, scene, tmp_path):
    exported = export_lifted(lifted["labels"], tmp_path / "room.ply")
    read = trimesh.load(tmp_path / "room.ply")
    columns = read.metadata["_ply_raw"]["vertex"]["data"]
    points = torch.from_numpy(np.asarray(read.vertices, dtype=np.float64))
    first, said, *_, last = exported.splitlines()
    assert "6 views as ply" in first
    assert said == f"{len(points)} points with x, y, z, nx, ny, nz, red, green, blue, label"
    assert last == f"ply      {tmp_path / 'room.ply'}"
    assert torch.equal(read_ply_points(tmp_path / "room.ply"), points)
    off, truth = nearest_surface(scene, points)
    # In 48 rows of pixels a cell is 2 % of its distance wide.
    assert float(torch.quantile(off, 0.9)) < 0.02
    assert float(off.median()) < 0.002
    # The same cloud beside its place lies on nothing.
    assert float(nearest_surface(scene, points + torch.tensor([0.0, 0.3, 0.0]))[0].median()) > 0.01
    assert np.mean(np.asarray(columns["label"]) == truth.numpy()) > 0.95
    # One point per spot, as wide as a pixel: six views that see much the same have fewer of them.
    assert 48 * 64 < len(points) < 6 * 48 * 64 / 2


def test_triangles_have_the_labels_of_the_surface(lifted, scene, tmp_path):
    exported = export_lifted(lifted["labels"], tmp_path / "room.ply", "mesh")
    read = trimesh.load(tmp_path / "room.ply", process=False)
    assert f"{len(read.vertices)} vertices, {len(read.faces)} triangles" in exported
    off, truth = nearest_surface(scene, torch.from_numpy(np.asarray(read.vertices, dtype=np.float64)))
    # A voxel is 4 % of its distance wide.
    assert float(torch.quantile(off, 0.9)) < 0.03
    labels = np.asarray(read.metadata["_ply_raw"]["vertex"]["data"]["label"])
    known = labels >= 0
    assert known.mean() > 0.9
    assert np.mean(labels[known] == truth.numpy()[known]) > 0.93


def read_off(one):
    cloud = scene_cloud(one, 10**6)
    return cloud, predicted_columns(one, cloud, lambda view: np.zeros((48, 64, 3), np.float32))


def test_normals_are_of_unit_length_and_those_of_floor_and_walls(lifted):
    cloud, columns = read_off(lifted["labels"])
    labels, normals = columns["label"], cloud.normals.numpy()
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    for name in ("floor", "wall"):
        # Floors and walls stand along the axes of the room.
        assert np.median(np.abs(normals[labels == CLASSES.index(name)]).max(axis=1)) > 0.99, name
    centers = torch.stack([view.camera.center for view in lifted["labels"].views()])
    towards = centers.mean(0) - cloud.xyz
    assert float(((towards * cloud.normals).sum(1) > 0).double().mean()) > 0.97


def test_points_have_the_values_of_their_cells(lifted):
    names = {"image": [], "scalar": ["value"], "masks": ["label"], "embedding": [f"feature_{at}" for at in range(8)]}
    for kind, own_names in names.items():
        cloud, columns = read_off(lifted[kind])
        assert list(columns) == ["red", "green", "blue", *own_names]
        assert all(len(column) == len(cloud) for column in columns.values())
    one, (cloud, columns) = lifted["scalar"], read_off(lifted["scalar"])
    place = int(cloud.view.bincount().argmax())
    own, view = cloud.view == place, one.view(one.targets[place])
    uv, _ = project(transform(view.camera.w2c, cloud.xyz[own].double()), view.camera.K)
    shown = view.prediction.values[uv[:, 1].long().clamp(0, 47), uv[:, 0].long().clamp(0, 63)].numpy()
    assert np.quantile(np.abs(columns["value"][own.numpy()] / shown - 1), 0.9) < 0.01


@pytest.mark.parametrize(("far", "kind"), [(0.0, "f4"), (5.2e6, "f8")])
def test_a_ply_gives_back_what_was_written_and_doubles_far_from_the_origin(tmp_path, far, kind):
    random = np.random.default_rng(0)
    xyz, normals = random.random((50, 3)) + far, random.random((50, 3))
    nothing = torch.zeros(50, dtype=torch.int64)
    cloud = Cloud(torch.from_numpy(xyz), torch.from_numpy(normals), nothing, torch.zeros(50, 2).double(), 50)
    columns = {
        "red": random.integers(0, 255, 50).astype(np.uint8),
        "label": random.integers(-1, 70_000, 50).astype(np.int32),
        "feature_0": random.random(50).astype(np.float32),
    }
    write_ply(tmp_path / "a.ply", cloud, columns, ["a\nelement face 9", "ж"])
    read = PlyData.read(tmp_path / "a.ply")
    (points,) = read.elements
    assert (points.name, read.text, read.byte_order) == ("vertex", False, "<")
    assert read.comments == ["a element face 9", "\\u0436"]
    assert np.array_equal(np.stack([points[axis] for axis in "xyz"], 1), xyz.astype(kind))
    assert np.array_equal(np.stack([points[f"n{axis}"] for axis in "xyz"], 1), normals.astype("f4"))
    assert all(np.array_equal(points[name], values) for name, values in columns.items())
    # Tools that know no names but their own skip the further columns by their types.
    types = {one.name: one.dtype("<") for one in points.properties[6:]}
    assert types == {"red": "<u1", "label": "<i4", "feature_0": "<f4"}
    assert torch.equal(read_ply_points(tmp_path / "a.ply"), torch.from_numpy(xyz.astype(kind).astype(np.float64)))


def test_it_says_in_which_frame_the_points_are(lifted):
    one = lifted["image"]
    assert "as its files have it" in world_words(one)
    moved = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    scene = replace(one.scene, canonical_from_source=moved)
    assert "[2 0 0 0; 0 2 0 0; 0 0 2 0; 0 0 0 1]" in world_words(replace(one, _capture=HeldCapture(scene)))


def test_arrays_are_those_of_the_store(lifted, tmp_path):
    for kind, one in lifted.items():
        export_lifted(one, tmp_path / kind)
        index = json.loads((tmp_path / kind / "index.json").read_text())
        assert (index["operator"], [entry["id"] for entry in index["views"]]) == (one.operator, list(one.targets))
        for entry in index["views"]:
            view, files = one.view(entry["id"]), {what: tmp_path / kind / name for what, name in entry["files"].items()}
            assert np.array_equal(np.array(entry["K"]), view.camera.K.numpy())
            assert np.array_equal(np.array(entry["w2c"]), view.camera.w2c.numpy())
            features, exact = np.load(files["features_0"]), np.load(files["prediction"])
            assert features.dtype == np.float16
            assert np.array_equal(features, one.features(entry["id"]).astype(np.float16), equal_nan=True)
            assert np.array_equal(exact, view.prediction.values.numpy(), equal_nan=kind != "labels")
            assert np.array_equal(np.load(files["z_depth_0"]), view.lifted[0].z_depth.numpy(), equal_nan=True)
            covered = cv2.imread(str(files["coverage_0"]), cv2.IMREAD_UNCHANGED) / 255
            assert np.abs(covered - view.lifted[0].coverage.numpy()).max() <= 0.5 / 255 + 1e-6
        assert set((tmp_path / kind).rglob("*.*")) == {
            tmp_path / kind / "index.json",
            *(tmp_path / kind / name for entry in index["views"] for name in entry["files"].values()),
        }


def test_images_hold_ids_pictures_and_numbers_and_ids_that_do_not_fit_are_refused(lifted, tmp_path):
    def image(kind, name, view="0002"):
        folder = tmp_path / kind
        if not folder.exists():
            export_lifted(lifted[kind], folder, "images")
        return cv2.imread(str(folder / "views" / view / name), cv2.IMREAD_UNCHANGED)

    ids = image("labels", "labels.png")
    assert ids.dtype == np.uint16
    labels = lifted["labels"].prediction("0002")
    assert np.array_equal(ids, np.where(labels < 0, UNKNOWN_ID, labels))
    picture = image("image", "image.png")[..., ::-1] / 255
    assert np.abs(picture - lifted["image"].prediction("0002").transpose(1, 2, 0)).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(image("scalar", "prediction.tiff"), lifted["scalar"].prediction("0002"))
    assert image("embedding", "preview.png").shape == (12, 16, 3)
    write_ids(tmp_path / "a.png", np.array([[-1, 0, UNKNOWN_ID - 1]]))
    assert cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED).tolist() == [[UNKNOWN_ID, 0, UNKNOWN_ID - 1]]
    with pytest.raises(SceneFormatError, match="65535"):
        write_ids(tmp_path / "b.png", np.array([[UNKNOWN_ID]]))


def test_xarray_opens_the_same_values(lifted, tmp_path):
    for kind, one in lifted.items():
        export_lifted(one, tmp_path / f"{kind}.zarr")
        opened, given = xarray.open_zarr(tmp_path / f"{kind}.zarr"), one.to_xarray()
        xarray.testing.assert_equal(opened, given)
        assert dict(opened.dtypes) == dict(given.dtypes)
        assert (opened.attrs["operator"], opened.attrs["lifter"]) == (one.operator, one.lifter)


def test_nerfstudio_has_the_same_cameras_and_images(lifted, scene, tmp_path):
    export_lifted(lifted["image"], tmp_path / "room", "nerfstudio")
    read = lift3d.read_scene(str(tmp_path / "room"))
    assert [view.id for view in read.views] == [view.id for view in scene.views]
    assert not read.dropped
    for view in read.views:
        stored, frame = lifted["image"].view(view.id), view.load()
        assert view.camera.size == stored.camera.size
        assert torch.equal(view.camera.K, stored.camera.K)
        assert torch.allclose(view.camera.w2c, stored.camera.w2c, rtol=0, atol=1e-12)
        assert float((frame.image - stored.prediction.values).abs().max()) <= 0.5 / 255 + 1e-6
        assert torch.equal(frame.is_valid, stored.prediction.is_valid)
        z_depth = stored.lifted[0].z_depth.where(stored.lifted[0].coverage >= COVERED, torch.nan)
        assert torch.allclose(frame.z_depth, z_depth, rtol=1e-6, atol=0, equal_nan=True)
    off, _ = nearest_surface(scene, read.points)
    assert float(torch.quantile(off, 0.9)) < 0.02


def test_nerfstudio_takes_photographs_where_the_operator_gives_none(lifted, scene, tmp_path):
    for kind in ("labels", "embedding"):
        export_lifted(lifted[kind], tmp_path / kind, "nerfstudio")
        read = lift3d.read_scene(str(tmp_path / kind))
        assert not (tmp_path / kind / "masks").exists()
        for view in read.views:
            frame = view.load()
            assert float((frame.image - scene.view(view.id).load(48).image).abs().max()) <= 0.5 / 255 + 1e-6
            if kind == "labels":
                assert np.array_equal(frame.labels.numpy(), lifted[kind].prediction(view.id))
    document = json.loads((tmp_path / "embedding" / "transforms.json").read_text())
    for frame in document["frames"]:
        values = np.load(tmp_path / "embedding" / frame["prediction_file_path"])
        assert np.array_equal(values, lifted["embedding"].prediction(frame["view"]))


def test_nerfstudio_refuses_what_it_has_no_place_for(lifted, tmp_path):
    skewed = replace(lifted["image"])
    view = skewed.view("0000")
    K = view.camera.K.clone()
    K[0, 1] = 0.5
    bent = replace(view, camera=replace(view.camera, K=K))
    object.__setattr__(skewed, "__dict__", {**skewed.__dict__, "view": lambda target: bent})
    with pytest.raises(CameraError, match="skew"):
        FORMS["nerfstudio"].write(skewed, tmp_path)
    novel = str(tmp_path / "novel")
    run_into(novel, small_recipe(operators=["hog"], lifters=["plane_sweep"], metrics=["coverage"], targets="path:3"))
    with pytest.raises(SceneError, match="has no photograph"):
        export_lifted(open_lifted(novel), tmp_path / "novel-export", "nerfstudio")
    assert not (tmp_path / "novel-export").exists()


def test_strange_names_stay_inside_and_in_the_index(tmp_path, scene):
    named = replace(scene, views=tuple(replace(view, id=name) for view, name in zip(scene.views, STRANGE, strict=True)))
    url, out = str(tmp_path / "store"), tmp_path / "a" / "b"
    lift3d.lift(named, "rgb", "plane_sweep", store=url, image_height=48, sources=2, metrics=["coverage"])
    for name, form in (("images", "images"), ("nerfstudio", "nerfstudio"), ("all.zarr", None)):
        export_lifted(open_lifted(url), out / name, form)
    assert sorted(path.name for path in out.iterdir()) == ["all.zarr", "images", "nerfstudio"]
    assert {path.name for path in tmp_path.iterdir()} == {"store", "a"}
    index = json.loads((out / "images" / "index.json").read_text())
    assert [entry["id"] for entry in index["views"]] == list(STRANGE)
    assert len(lift3d.read_scene(str(out / "nerfstudio")).views) == len(STRANGE)
    assert xarray.open_zarr(out / "all.zarr")["view"].values.tolist() == list(STRANGE)


def test_names_are_safe_and_unique_where_case_does_not_count():
    names = file_names(["A", "a", "..", "", "a:b", *STRANGE])
    assert len({name.casefold() for name in names.values()}) == 5 + len(STRANGE)
    assert all(re.fullmatch(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,90}", name) for name in names.values())


def test_nothing_is_written_over(lifted, tmp_path, capsys):
    for folder in ("full", "empty"):
        (tmp_path / folder).mkdir()
    for file in (tmp_path / "file.ply", tmp_path / "full" / "mine"):
        file.write_text("mine")
    (tmp_path / "link.ply").symlink_to(tmp_path / "gone")
    for name in ("file.ply", "full", "link.ply"):
        with pytest.raises(ConfigError, match="is there already"):
            export_lifted(lifted["image"], tmp_path / name)
    with pytest.raises(ConfigError, match=r"file.ply' takes no files: Not a directory"):
        export_lifted(lifted["image"], tmp_path / "file.ply" / "inside" / "other.ply")
    assert (tmp_path / "file.ply").read_text() == (tmp_path / "full" / "mine").read_text() == "mine"
    export_lifted(lifted["image"], tmp_path / "empty")
    assert capsys.readouterr().err == "", "what goes on is told on a terminal alone"
    assert (tmp_path / "empty" / "index.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file.ply", "full", "link.ply"]


def test_no_half_export_is_left(lifted, tmp_path, monkeypatch):
    def breaks(lifted, out):
        (out / "some").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMS, "images", ExportForm(breaks, ""))
    with pytest.raises(ConfigError, match="No space left"):
        export_lifted(lifted["image"], tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        export_lifted(lifted["image"], tmp_path / "file" / "a.ply")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "form", "error", "said"),
    [
        ("a.nc", None, ConfigError, "zarr"),
        ("a.obj", None, ConfigError, r"no form of export; expected \.glb.*--format images"),
        ("a", "ply", ConfigError, r"ends in \.ply"),
        ("a.ply", "images", ConfigError, "a folder"),
        ("a.ply", "zarr", ConfigError, "zarr"),
        ("a", "nerfstudo", UnknownNameError, "nerfstudio"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(lifted, tmp_path, name, form, error, said):
    with pytest.raises(error, match=said):
        export_lifted(lifted["image"], tmp_path / name, form)
    assert not list(tmp_path.iterdir())
