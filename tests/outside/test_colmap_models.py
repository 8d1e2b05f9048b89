"""COLMAP models as tools and people leave them: names, folders, counts, poses."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from lift3d.errors import SceneFormatError
from lift3d.scenes.catalog import read_scene
from tests.support import captures

SOURCE = captures.capture()
NUMBERS = "4 numbers that are wrong without a word"
MEMORY = "6 small input, huge memory"
FRAME = "7 one bad frame costs the scene, or is used"


def renamed(folder: Path, names: list[str]) -> None:
    """Give the images of a text model, and their files, other names."""
    path = folder / "sparse/0/images.txt"
    text = path.read_text()
    for old, new in zip(SOURCE.names, names, strict=True):
        text = text.replace(f" {old}.png", f" {new}")
        (folder / "images" / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"images/{old}.png").rename(folder / "images" / new)
    path.write_text(text)


@pytest.mark.outside(kind=NUMBERS, case="COLMAP text names with spaces", right="each pose with its own picture")
@pytest.mark.parametrize(
    "names",
    [
        ["a.png", "a 1.png", "a 2.png", "a  b.png"],
        ["left cam/0 1.png", "left cam/0 2.png", "left.png", "left cam.png"],
        ["IMG (1).png", "IMG (2).png", "IMG.png", "# x.png"],
    ],
)
def test_names_with_spaces(tmp_path, names):
    captures.write_colmap_scene(tmp_path, SOURCE, forms=["txt"])
    renamed(tmp_path, names)
    scene = read_scene(str(tmp_path))
    found = {Path(view.source.image).relative_to(tmp_path / "images").as_posix(): view for view in scene.views}
    assert set(found) == set(names)
    for name, c2w in zip(names, SOURCE.c2w, strict=True):
        np.testing.assert_allclose(found[name].camera.c2w, c2w, atol=1e-6)


def model(folder: Path, place: str, count: int) -> None:
    """Write a model of the first cameras; with a lens if it is of all."""
    params, lens = (captures.FX, captures.FY, captures.CX, captures.CY), "PINHOLE"
    if count == len(SOURCE.c2w):
        params, lens = (*params, 0.15, 0, 0, 0), "OPENCV"
    captures.write_colmap(folder / place, SOURCE, model=lens, params=params, count=count)


# Models and folders of images, with the numbers of their images; the first of each go together.
LAYOUTS: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "3DGS, distorted model larger": ({"sparse/0": 3, "distorted/sparse/0": 4}, {"images": 3, "input": 4}),
    "3DGS, second distorted model": ({"sparse/0": 3, "distorted/sparse/1": 4}, {"images": 4}),
    "dense/sparse": ({"dense/sparse": 3}, {"dense/images": 3, "images": 4}),
    "dense/0/sparse of a workspace": ({"dense/0/sparse": 3}, {"dense/0/images": 3, "images": 4}),
    "only distorted, beside what was undistorted": ({"distorted/sparse/0": 3}, {"input": 3, "images": 4}),
    "nerfstudio": ({"colmap/sparse/0": 3}, {"images": 3}),
    "the larger model of other images": ({"sparse/0": 3, "sparse/1": 4}, {"images": 3}),
}


@pytest.mark.outside(kind=NUMBERS, case="a COLMAP model and images of different folders", right="3 views, own images")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_models_go_with_their_own_images(tmp_path, layout):
    models, images = LAYOUTS[layout]
    for place, count in models.items():
        model(tmp_path, place, count)
    for place, count in images.items():
        captures.write_images(tmp_path / place, SOURCE.names[:count])
    if "other images" in layout:
        path = tmp_path / "sparse/1/images.bin"
        path.write_bytes(path.read_bytes().replace(b"00", b"xx"))
    scene = read_scene(str(tmp_path))
    assert {Path(view.source.image).parent for view in scene.views} == {tmp_path / next(iter(images))}
    assert [view.source.distortion for view in scene.views] == [None] * 3
    assert scene.id == tmp_path.name


@pytest.mark.outside(kind=NUMBERS, case="a COLMAP model and images of different folders", right="3 views, own images")
@pytest.mark.parametrize("place", ["distorted/sparse/0", "dense/sparse"])
def test_a_model_without_its_images_is_refused(tmp_path, place):
    model(tmp_path, place, 3)
    captures.write_images(tmp_path / "images", SOURCE.names)
    for location in (tmp_path, tmp_path / place):
        with pytest.raises(SceneFormatError, match="no folder 'images'"):
            read_scene(str(location))


def at_first(path: Path, mark: bytes, offset: int, new: bytes) -> None:
    """Overwrite bytes of a file, counted from the first place of others."""
    content = bytearray(path.read_bytes())
    start = (content.index(mark) if mark else 0) + offset
    content[start : start + len(new)] = new
    path.write_bytes(bytes(content))


HUGE = struct.pack("<Q", 2**40)


@pytest.mark.outside(
    kind=MEMORY, case="inner counts of COLMAP files that lie", right="refused before memory is taken, or not read"
)
@pytest.mark.parametrize(
    ("part", "mark", "offset"),
    [
        ("points3D", b"", 8 + 43),
        ("images", b"000.png\0", 8),
        ("cameras", b"", 0),
        ("frames", b"", 8 + 4 + 4 + 56),
        ("rigs", b"", 8 + 4),
    ],
)
def test_inner_counts(tmp_path, part, mark, offset):
    captures.write_colmap_scene(tmp_path, SOURCE)
    at_first(tmp_path / f"sparse/0/{part}.bin", mark, offset, HUGE)
    if part in ("frames", "rigs"):
        # What they hold stands in images.bin, too.
        assert len(read_scene(str(tmp_path)).views) == len(SOURCE.c2w)
        return
    with pytest.raises(SceneFormatError, match=rf"{part}\.bin' is no file of a COLMAP model: it"):
        read_scene(str(tmp_path))


# An image of a binary model: id, then w, x, y, z, then translation, then camera, then name.
POSE = 4
NAN, BIG = struct.pack("<d", float("nan")), struct.pack("<d", 1e300)


@pytest.mark.outside(kind=FRAME, case="COLMAP images that are none", right="one view dropped with its reason")
@pytest.mark.parametrize(
    ("new", "offset", "reason"),
    [
        (bytes(32), POSE, "camera"),
        (NAN, POSE + 8, "camera"),
        (BIG, POSE, "camera"),
        (NAN, POSE + 40, "camera"),
        (BIG, POSE + 40, "camera"),
        (struct.pack("<I", 99), POSE + 56, "camera"),
        (b"\xff\xfe", POSE + 60, "scene-format"),
        (b"../", POSE + 60, "scene-format"),
        (b"\x1b[2J", POSE + 60, "scene-format"),
    ],
    ids=[
        *("zero quaternion", "NaN in the quaternion", "huge quaternion", "NaN in the centre", "centre far away"),
        *("no such camera", "a name that is no UTF-8", "a name that leads out", "a name of control characters"),
    ],
)
@pytest.mark.parametrize("form", ["bin", "txt"])
def test_bad_images(tmp_path, form, new, offset, reason):
    captures.write_colmap_scene(tmp_path, SOURCE)
    path = tmp_path / "sparse/0/images.bin"
    at_first(path, b"001.png\0", offset - POSE - 60, new)
    if form == "txt":
        as_text(tmp_path / "sparse/0")
    scene = read_scene(str(tmp_path))
    assert [view.id for view in scene.views] == ["000", "002", "003"]
    assert [view.reason for view in scene.dropped] == [reason]
    assert scene.dropped[0].id.isprintable()
    assert len(scene.dropped[0].message) < 400


def as_text(folder: Path) -> None:
    """Write the images of a binary model as text, bytes of names as they are."""
    captures.write_colmap(folder, SOURCE, forms=["txt"])
    content, lines = (folder / "images.bin").read_bytes(), []
    for found in re.finditer(rb"(?s)(.{64})([^\0]*)\0.{8}", content[8:]):
        number, *pose, camera = struct.unpack("<I7dI", found.group(1))
        lines += [f"{number} {' '.join(map(repr, pose))} {camera} ".encode() + found.group(2), b""]
    (folder / "images.txt").write_bytes(b"\n".join([*lines, b""]))
    for path in folder.glob("*.bin"):
        path.unlink()


@pytest.mark.outside(kind=FRAME, case="COLMAP cameras that are none", right="their views dropped with the reason")
@pytest.mark.parametrize(
    ("new", "offset"),
    [(struct.pack("<Q", 0), 8), (struct.pack("<Q", 2**63), 16), (NAN, 24), (struct.pack("<d", 1e-300), 24), (BIG, 40)],
    ids=["no width", "huge height", "focal length NaN", "focal length 1e-300", "principal point 1e300"],
)
def test_bad_cameras(tmp_path, new, offset):
    captures.write_colmap_scene(tmp_path, SOURCE)
    at_first(tmp_path / "sparse/0/cameras.bin", b"", 8 + offset, new)
    with pytest.raises(SceneFormatError, match=r"no usable view\. The first of 4: "):
        read_scene(str(tmp_path))
