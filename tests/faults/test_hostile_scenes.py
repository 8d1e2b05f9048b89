"""Files and names as nobody should write them: what is usable is used, the rest is refused in a sentence."""

import io
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lift3d.cli.run import scene_line
from lift3d.domain.camera import ImageSize
from lift3d.domain.keys import digest_bytes
from lift3d.domain.scene import Scene
from lift3d.errors import ImageError, SceneFormatError
from lift3d.runs.driver import failed_record
from lift3d.scenes import file_limits
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.images import decode_color, decode_map
from tests.support import captures
from tests.support.runs import ran

SOURCE = captures.capture()
SIZE = ImageSize(captures.HEIGHT, captures.WIDTH)


def read(folder: Path, *names: str, **shared: Any) -> Scene:
    """Read the capture with other names of its first images."""
    file_paths = [f"images/{name}.png" for name in SOURCE.names]
    file_paths[: len(names)] = names
    captures.write_json(folder / "transforms.json", captures.transforms(SOURCE, file_paths, **shared))
    return read_scene(str(folder))


@pytest.fixture
def folder(tmp_path):
    captures.write_images(tmp_path / "scene" / "images", SOURCE.names)
    return tmp_path / "scene"


@pytest.mark.fault(25, "names that differ from the files' by case")
def test_case_is_overlooked_where_only_one_file_can_be_meant(folder):
    (folder / "images/000.png").rename(folder / "images/Img_0.PNG")
    (folder / "images/001.png").rename(folder / "images/B.png")
    captures.write_images(folder / "images", ["b"])
    scene = read(folder, "images/IMG_0.png", "images/B.PNG")
    assert [view.id for view in scene.views] == ["002", "003", "IMG_0"]
    assert [(view.id, view.reason) for view in scene.dropped] == [("B", "image")], "either file could be meant"
    assert any("1 files were found" in note and "'Img_0.PNG'" in note for note in scene.notes)


@pytest.mark.fault(25, "images beside a capture that no frame or no COLMAP image names")
@pytest.mark.parametrize("form", ["transforms", "colmap"])
def test_images_without_a_camera_shift_nothing_and_are_counted(folder, form):
    captures.write_images(folder / "images", ["0000_extra", "zzz"])
    if form == "colmap":
        captures.write_colmap(folder / "sparse/0", SOURCE)
    scene = read(folder) if form == "transforms" else read_scene(str(folder))
    assert [view.id for view in scene.views] == SOURCE.names
    assert any(note.startswith("2 further image files") for note in scene.notes)


@pytest.mark.fault(26, "a PNG that is called .jpg")
def test_content_decides_what_a_file_is(folder):
    (folder / "images/000.png").rename(folder / "images/000.jpg")
    pixels, _ = decode_color(read(folder, "images/000.jpg").views[0].source.image, SIZE)
    np.testing.assert_array_equal(pixels, captures.texture())


@pytest.mark.fault(27, "a PNG whose text, or whose colour profile, unpacks from kilobytes to 20 megabytes")
@pytest.mark.parametrize("kind", ["text", "profile"])
def test_what_a_png_carries_besides_pixels_is_not_unpacked(tmp_path, kind):
    path, much = tmp_path / "a.png", bytes(20 * 2**20)
    image = Image.fromarray(captures.texture())
    if kind == "text":
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", much.decode(), zip=True)
        image.save(path, pnginfo=info)
    else:
        image.save(path, icc_profile=much)
    assert path.stat().st_size < 200_000
    with pytest.raises(ImageError, match=r"a\.png"):
        decode_color(path, SIZE)


def sparse(path: Path, head: bytes, size: int) -> Path:
    """Write a file that takes no room on the disk, whatever its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)
    return path


def npy_header(shape: tuple[int, ...], kind: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.fault(27, "arrays whose header promises 8 TB, in a short file and in a sparse one of that size")
@pytest.mark.parametrize("size", [200, 2**43])
def test_arrays_are_believed_only_as_far_as_they_go(tmp_path, size):
    head = npy_header((10**6, 10**6))
    with pytest.raises(ImageError, match=r"d\.npy"):
        decode_map(sparse(tmp_path / "d.npy", head, size))
    captures.write_images(tmp_path / "images", SOURCE.names)
    sparse(tmp_path / "poses_bounds.npy", head, size)
    with pytest.raises(SceneFormatError, match=r"poses_bounds\.npy"):
        read_scene(str(tmp_path))


@pytest.mark.fault(27, "a zip of cameras whose members unpack to 64 MB, promise 8 TB, or lie about their size")
@pytest.mark.parametrize("kind", ["large", "promise", "lie", "encrypted"])
def test_an_archive_of_cameras_unpacks_to_matrices_alone(tmp_path, kind):
    captures.write_idr(tmp_path, SOURCE)
    path = tmp_path / "cameras.npz"
    shape = (10**6, 10**6) if kind == "promise" else (4, 4)
    content = npy_header(shape) + bytes(2**26 if kind == "large" else 2**20 if kind == "lie" else 128)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("world_mat_0.npy", content)
    raw = bytearray(path.read_bytes())
    directory = raw.rindex(b"PK\x01\x02")
    if kind == "lie":
        raw[directory + 24 : directory + 28] = (256).to_bytes(4, "little")
    if kind == "encrypted":
        raw[directory + 8] |= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(SceneFormatError, match=r"cameras\.npz"):
        read_scene(str(tmp_path))


@pytest.mark.fault(27, "sparse files of 8 TB in the place of JSON, of an image and of a matrix")
def test_no_file_is_read_that_is_larger_than_its_kind(folder, tmp_path):
    size = 2**43
    image = folder / "images/000.png"
    view = read(folder).views[0]
    sparse(image, image.read_bytes(), size)
    with pytest.raises(ImageError, match="bytes"):
        view.source.content_digest()
    sparse(folder / "transforms.json", b'{"frames": [', size)
    with pytest.raises(SceneFormatError, match="bytes"):
        read_scene(str(folder))
    captures.write_scannet(tmp_path / "scannet", SOURCE)
    sparse(tmp_path / "scannet/pose/1.txt", b"1 0 0 0\n", size)
    assert [view.id for view in read_scene(str(tmp_path / "scannet")).dropped] == ["1"]


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    for count in (0, 1, 2**20, 2**20 + 1):
        path = tmp_path / f"{count}"
        path.write_bytes(content := bytes(index % 251 for index in range(count)))
        assert file_limits.digest_file(path, 2**21) == digest_bytes(content)


@pytest.mark.fault(28, "names of 300 characters, of control characters, and of half a surrogate pair")
@pytest.mark.parametrize("name", ["é" * 300 + ".png", "\x1b[2J.png", "\ud800.png", "a\nb.png", "images/\0.png", "."])
def test_names_that_no_file_can_have_are_dropped_and_can_be_shown(folder, name):
    scene = read(folder, name)
    assert (len(scene.views), len(scene.dropped)) == (3, 1)
    record = failed_record(str(folder), "scene", "as an example", scene.dropped)
    assert record.to_bytes()
    line = scene_line(record)
    assert line.encode()
    assert all(unicodedata.category(letter) != "Cc" for letter in line)


@pytest.mark.fault(28, "files and a folder with %2F, spaces, quotes, emoji of several parts, and NFD in their names")
def test_harmless_names_are_kept_and_keys_are_ascii(tmp_path):
    folder = tmp_path / unicodedata.normalize("NFD", "Küche %2F.. 👩‍🚀 'x'")
    names = ["a%2Fb", "..%2F..%2Fetc", " ünï 👩‍🚀 ", 'it\'s "so"']
    captures.write_images(folder / "images", names)
    assert [view.id for view in read(folder, *(f"images/{name}.png" for name in names)).views] == sorted(names)
    record, _ = ran(tmp_path, scenes=[str(folder)], operators=["rgb"], lifters=["plane_sweep"])
    assert record.is_ok
    assert record.scene == unicodedata.normalize("NFC", folder.name)
    written = [path.relative_to(tmp_path / "store") for path in (tmp_path / "store").rglob("*")]
    assert all(str(path).isascii() and ".." not in path.parts for path in written)


@pytest.mark.fault(28, "a folder of images, of masks, or a file of intrinsics, that is a link out of the scene")
@pytest.mark.parametrize("what", ["images", "masks", "intrinsics"])
def test_links_that_lead_out_of_a_scene_are_refused(tmp_path, what):
    scene, other = tmp_path / "scene", tmp_path / "private"
    captures.write_images(other, SOURCE.names)
    if what == "intrinsics":
        captures.write_scannet(scene, SOURCE)
        place = scene / "intrinsic/intrinsic_color.txt"
        place.rename(other / "secret.txt")
        place.symlink_to(other / "secret.txt")
    else:
        captures.write_colmap(scene / "sparse/0", SOURCE)
        captures.write_images(scene / "masks", ["x"])
        captures.write_images(scene / "images", SOURCE.names)
        (scene / what).rename(tmp_path / "moved")
        (scene / what).symlink_to(other)
    with pytest.raises(SceneFormatError, match="link that leads out"):
        read_scene(str(scene))


def test_a_link_inside_a_scene_is_followed(folder):
    (folder / "images").rename(folder / "frames")
    (folder / "images").symlink_to(folder / "frames")
    captures.write_colmap(folder / "sparse/0", SOURCE)
    assert len(read_scene(str(folder)).views) == len(SOURCE.names)
