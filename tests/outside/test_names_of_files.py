"""Names and links as nobody should write them: what can be meant is used, the rest is refused in a sentence."""

import unicodedata

import numpy as np
import pytest

from lift3d.cli.run import scene_line
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.results.opened import lifted_scenes
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.images import decode_color
from tests.support import captures
from tests.support.runs import ran

SOURCE = captures.capture()


def read(folder, *names):
    """Read the capture with other names of its first images, which are there."""
    return captures.read_transforms(folder, SOURCE, *({"file_path": name} for name in names))


@pytest.mark.fault(25, "names that differ from the files' by case")
def test_case_is_overlooked_where_only_one_file_can_be_meant(tmp_path):
    captures.write_images(tmp_path / "images", ["B", "b"])
    captures.write_images(tmp_path / "images", ["Img_0"], ".PNG")
    scene = read(tmp_path, "images/IMG_0.png", "images/B.PNG")
    assert [view.id for view in scene.views] == ["002", "003", "IMG_0"]
    assert [(view.id, view.reason) for view in scene.dropped] == [("B", "image")], "either file could be meant"
    assert any("1 files were found" in note and "'Img_0.PNG'" in note for note in scene.notes)


@pytest.mark.fault(25, "images beside a capture that no frame or no COLMAP image names")
@pytest.mark.parametrize("write", [captures.write_transforms, captures.write_colmap_scene])
def test_images_without_a_camera_shift_nothing_and_are_counted(tmp_path, write):
    captures.write_images(tmp_path / "images", ["0000_extra", "zzz"])
    write(tmp_path, SOURCE)
    scene = read_scene(str(tmp_path))
    assert [view.id for view in scene.views] == SOURCE.names
    assert any(note.startswith("2 further image files") for note in scene.notes)


@pytest.mark.fault(26, "a PNG that is called .jpg")
def test_content_decides_what_a_file_is(tmp_path):
    captures.write_images(tmp_path / "images", ["0"])
    (tmp_path / "images/0.png").rename(tmp_path / "images/0.jpg")
    view = read(tmp_path, "images/0.jpg").views[0]
    pixels, _ = decode_color(view.source.image, view.camera.size)
    np.testing.assert_array_equal(pixels, captures.texture())


@pytest.mark.fault(28, "files and a folder with %2F, spaces, quotes, emoji of several parts, and NFD in their names")
@pytest.mark.fault(28, "a folder named in Chinese, with markup and formulas")
def test_harmless_names_are_kept_are_no_markup_and_keys_are_ascii(tmp_path, monkeypatch):
    folder = tmp_path / unicodedata.normalize("NFD", "Küche %2F.. 👩‍🚀 'x' 漢字 [red] $\\x$ :x:")
    names = ["a%2Fb", "..%2F..%2Fetc", " ünï 👩‍🚀 ", 'it\'s "so"']
    captures.write_images(folder / "images", names)
    assert [view.id for view in read(folder, *(f"images/{name}.png" for name in names)).views] == sorted(names)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        record, _ = ran(tmp_path, scenes=[folder.name], operators=["rgb"], lifters=["plane_sweep"], image_height=24)
        assert record.is_ok
        assert record.location == folder.name, "as the recipe calls it"
    assert record.scene == unicodedata.normalize("NFC", folder.name)
    assert r"\[red]" in scene_line(record)
    written = [path.relative_to(tmp_path / "store") for path in (tmp_path / "store").rglob("*")]
    assert all(str(path).isascii() and ".." not in path.parts for path in written)
    assert lifted_scenes(str(tmp_path / "store"))[0].show()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.fault(28, "a folder of images, of masks, or a file of intrinsics, that is a link out of the scene")
@pytest.mark.parametrize("what", ["images", "masks", "intrinsic/intrinsic_color.txt"])
def test_links_that_lead_out_of_a_scene_are_refused_unless_they_are_said_to_be_ones_own(tmp_path, monkeypatch, what):
    (captures.write_scannet if "intrinsic" in what else captures.write_colmap_scene)(tmp_path / "scene", SOURCE)
    captures.write_images(tmp_path / "scene/masks", ["x"])
    (tmp_path / "scene" / what).rename(tmp_path / "private")
    (tmp_path / "scene" / what).symlink_to(tmp_path / "private")
    with pytest.raises(SceneFormatError, match="link that leads out"):
        read_scene(str(tmp_path / "scene"))
    monkeypatch.setenv("LIFT3D_FOLLOW_LINKS", "1")
    assert len(read_scene(str(tmp_path / "scene")).views) == len(SOURCE.names)


def test_a_link_inside_a_scene_is_followed(tmp_path):
    captures.write_colmap_scene(tmp_path, SOURCE)
    (tmp_path / "images").rename(tmp_path / "frames")
    (tmp_path / "images").symlink_to(tmp_path / "frames")
    assert len(read_scene(str(tmp_path)).views) == len(SOURCE.names)


@pytest.mark.fault(28, "locations of scenes with schemes, chains of file systems and hosts")
@pytest.mark.parametrize("name", ["s3://b/a", "http://169.254.169.254/a", "zip://a::file:///x.zip", "//h/a", "a.zip"])
def test_urls_and_archives_are_no_scenes(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises((ConfigError, SceneFormatError)):
        read_scene(name)
