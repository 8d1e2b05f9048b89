"""What was lifted, on the splats of a file: in its order, as the scene has it, and as one projection back and forth."""

import numpy as np
import pytest
import torch
from plyfile import PlyData

import lift3d
from lift3d.domain.features import FeatureGrid
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.geometry.gaussians import Gaussians
from lift3d.geometry.splatting import BandedPicture
from lift3d.results.exports import splats as splat_export
from lift3d.results.exports.write import export_lifted
from lift3d.scenes.ply_splats import SplatFile
from tests.support import surfaces
from tests.support.runs import ROOM, run_into, small_recipe

CLASSES = ("floor", "wall", "other")
EMBEDDED = "tiny:encoder"


@pytest.fixture(scope="module")
def frames():
    return [view.load(48) for view in lift3d.read_scene(ROOM).views]


@pytest.fixture(scope="module")
def lifted(tmp_path_factory, frames):
    """A run on true depth: photographs, true labels, features."""
    folder = tmp_path_factory.mktemp("splats")
    for view, frame in zip(lift3d.read_scene(ROOM).views, frames, strict=True):
        for number, name in enumerate(CLASSES):
            np.save(folder / f"{view.id}.{name}.npy", (frame.labels.clamp(max=2) == number).float().numpy())
    labels = f"files:{folder}?pattern={{view}}.{{name}}.npy&names={','.join(CLASSES)}&kind=labels"
    url = str(folder / "store")
    recipe = small_recipe(operators=["rgb", labels, EMBEDDED], lifters=["anchored"], metrics=["coverage"])
    run_into(url, recipe)
    return {one.view("0002").prediction.kind: one for one in lift3d.lifted_scenes(url)}


@pytest.fixture(scope="module")
def splats(tmp_path_factory, frames):
    """A splat per pixel of two views, the first row broken; and what the pixels show."""
    shown = frames[::3]
    xyz, _ = surfaces.mesh_of(shown)
    # Wide enough that nothing shows between them, and no wider: what is drawn is as sharp as the photograph.
    width = np.concatenate([(0.4 * one.z_depth / one.camera.K[0, 0]).flatten().numpy() for one in shown])
    path = tmp_path_factory.mktemp("files") / "room.ply"
    surfaces.write_splats(path, xyz, width)
    data = PlyData.read(str(path), mmap=False)
    data["vertex"]["x"][0] = np.nan
    data.write(str(path))
    label = torch.cat([one.labels.clamp(max=2).flatten() for one in shown]).numpy()
    color = torch.cat([one.image.flatten(1).T for one in shown]).numpy()
    return path, label, color


def written(lifted, tmp_path, splats, **options):
    out = tmp_path / "out.ply"
    said = export_lifted(lifted, out, onto=splats[0], **options)
    return PlyData.read(str(out))["vertex"], said


def test_a_file_is_written_as_it_was_bit_for_bit(tmp_path, splats):
    out = tmp_path / "same.ply"
    SplatFile(splats[0]).write(out, {})
    assert out.read_bytes() == splats[0].read_bytes()


def test_splats_have_the_labels_of_their_places_in_the_order_of_the_file(lifted, tmp_path, splats):
    path, label, _ = splats
    rows, said = written(lifted["labels"], tmp_path, splats)
    before = PlyData.read(str(path))["vertex"]
    assert len(rows) == len(label) == len(before)
    for name in before.data.dtype.names:
        np.testing.assert_array_equal(rows[name], before[name])
    assert rows["label"][0] == -1, "a row that is not finite is in no view"
    is_seen = rows["label"] >= 0
    assert is_seen.mean() > 0.9
    assert (rows["label"] == label)[is_seen].mean() > 0.97
    assert f"{len(label)} of {len(label)} splats" in said


def test_an_object_is_cut_out_with_the_labels_that_are_asked_for(lifted, tmp_path, splats):
    _, label, _ = splats
    rows, _ = written(lifted["labels"], tmp_path, splats, only=(2,))
    assert set(rows["label"]) == {2}
    assert len(rows) == pytest.approx((label == 2).sum(), rel=0.1)


def test_splats_take_the_colours_that_were_lifted(lifted, tmp_path, splats):
    written(lifted["image"], tmp_path, splats)
    file = SplatFile(tmp_path / "out.ply")
    error = np.abs(file.colours.numpy() - splats[2][file.is_finite.numpy()])
    assert np.median(error) < 0.03


def test_features_are_those_of_the_surface_at_full_width(lifted, tmp_path, splats, frames):
    rows, _ = written(lifted["embedding"], tmp_path, splats)
    view = lifted["embedding"].view("0000")
    maps = view.lifted[0].features
    found = np.stack([rows[f"feature_{number}"] for number in range(maps.channel_count)], axis=1)
    pixels = frames[0].image.shape[1:]
    own = torch.nn.functional.interpolate(maps.values[None], pixels, mode="nearest")[0].flatten(1).T.numpy()
    found = found[: len(own)]
    is_known = np.isfinite(found).all(1) & np.isfinite(own).all(1)
    cosine = (found * own).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(own, axis=1)
    assert is_known.mean() > 0.9
    # Cells are as wide as four pixels; what is between two of them is of both.
    assert np.median(cosine[is_known]) > 0.98


def test_channels_are_summed_in_as_many_passes_as_memory_wants(lifted, tmp_path, splats, monkeypatch):
    whole, _ = written(lifted["embedding"], tmp_path, splats)
    (tmp_path / "passes").mkdir()
    # Of five channels a pass.
    monkeypatch.setattr(splat_export, "_SUMMED_BYTES", 5 * 4 * len(splats[1]))
    again, _ = written(lifted["embedding"], tmp_path / "passes", splats)
    assert whole.data.dtype == again.data.dtype
    for name in whole.data.dtype.names:
        np.testing.assert_array_equal(whole[name], again[name])


def drawn(splats, frame):
    found = SplatFile(splats[0]).splats
    gaussians = Gaussians.of(found.xyz, found.opacity, found.scale, found.rotation)
    return BandedPicture(frame.camera, FeatureGrid.covering(frame.camera.size, 1.0), gaussians, 0.01), len(found.xyz)


def test_splats_in_their_colours_are_the_photograph(splats, frames):
    found, _ = drawn(splats, frames[0])
    color = torch.as_tensor(splats[2])[SplatFile(splats[0]).is_finite]
    picture, total = found.rendered(color)
    is_covered = total > 0.5
    assert is_covered.float().mean() > 0.95
    error = (picture / total - frames[0].image)[:, is_covered]
    assert float(error.square().mean()) < 10 ** (-25 / 10)


def test_giving_back_is_the_adjoint_of_rendering(splats, frames):
    found, count = drawn(splats, frames[1])
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    cells = torch.rand(found.grid.cell_count, 3, generator=generator, dtype=torch.float64)
    picture, total = found.rendered(values)
    back, weight = found.given_back(cells, count)
    torch.testing.assert_close((picture.flatten(1).T * cells).sum(), (values * back).sum())
    torch.testing.assert_close(total.sum(), weight.sum())
    assert float(total.max()) <= 1 + 1e-9


def test_splats_in_millimetres_are_refused(lifted, tmp_path, splats):
    data = PlyData.read(str(splats[0]), mmap=False)
    for name in "xyz":
        data["vertex"][name] *= 1000
    for axis in range(3):
        data["vertex"][f"scale_{axis}"] += np.log(1000)
    data.write(str(tmp_path / "mm.ply"))
    with pytest.raises(SceneFormatError, match="another world or unit"):
        written(lifted["labels"], tmp_path, (tmp_path / "mm.ply",))
    assert not (tmp_path / "out.ply").exists()


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        ("image", {"only": (1,)}, "no labels"),
        ("labels", {"only": (77,)}, "what is seen has 0, 1, 2"),
        ("labels", {"form": "zarr"}, "it alone"),
    ],
)
def test_what_cannot_be_is_refused_in_words(lifted, tmp_path, splats, kind, options, match):
    name = "out.zarr" if "form" in options else "out.ply"
    with pytest.raises(ConfigError, match=match):
        export_lifted(lifted[kind], tmp_path / name, onto=splats[0], **options)


def test_the_form_needs_a_file(lifted, tmp_path):
    with pytest.raises(ConfigError, match="--onto"):
        export_lifted(lifted["labels"], tmp_path / "out.ply", "onto")
