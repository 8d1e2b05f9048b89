"""Small files that promise much: memory follows what is there. Measured in a process of its own, whose peak counts."""

import io
import json
import math
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from lift3d.config import parse_execution, parse_recipe
from lift3d.domain.camera import ImageSize
from lift3d.domain.keys import digest_bytes
from lift3d.errors import ImageError, SceneError, SceneFormatError
from lift3d.operators.catalog import build_operator
from lift3d.runs.plan import plan
from lift3d.scenes import file_limits
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.file_frame import LARGE_BYTES, FileFrame
from lift3d.scenes.images import decode_color, decode_map
from lift3d.scenes.ply import read_ply_points
from tests.support import captures

SOURCE = captures.capture()
KIND = "6 small input, huge memory"
MIB = 2**20
# Loads each view of each scene at a small size; prints what was refused, and how far the process's peak rose, bytes.
LOAD = """
import json, re, sys
from pathlib import Path
from lift3d.errors import Lift3dError
from lift3d.scenes.catalog import read_scene

def status(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

found = []
for location in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")
    before, scene = status("VmRSS"), read_scene(location)
    said = [view.message for view in scene.dropped]
    for view in scene.views:
        try:
            view.load(24)
        except Lift3dError as error:
            said.append(str(error))
    found.append([" ".join(said), status("VmHWM") - before])
print(json.dumps(found))
"""
MAPS = {
    "depth of a gigapixel": ("depth_file_path", (28_000, 38_000), "|u1"),
    "labels of a gigapixel": ("label_file_path", (28_000, 38_000), "|u1"),
    "depth": ("depth_file_path", (10_500, 14_000), "<u2"),
    "labels": ("label_file_path", (10_500, 14_000), "<i4"),
}


def png(width: int, height: int, row_count: int) -> bytes:
    """Return a black PNG of so many pixels, and few bytes, of which it holds some rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width * 3 + 1)) for _ in range(row_count)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


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


LENSES = {"pinhole": {}, "lens": {"k1": 0.01}, "mask": {"mask_path": "images/001.png"}}
# Headers that declare 2.5 gigapixels.
BOMBS = {
    "png": png(50_000, 50_000, 0),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 50_000, 50_000, 0, 0, 0) + b";",
    "ppm": b"P6 50000 50000 255\n",
    "jpg": b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 50_000, 50_000) + b"\3\1\x11\0\2\x11\0\3\x11\0",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """By what a scene holds: its folder, what was said, and by how much the peak of memory rose."""
    folder = tmp_path_factory.mktemp("small")
    for name, (key, shape, kind) in MAPS.items():
        captures.write_transforms(folder / name, SOURCE, {key: "map.npy"})
        head = npy_header(shape, kind)
        sparse(folder / name / "map.npy", head, len(head) + np.dtype(kind).itemsize * math.prod(shape))
    large = png(5472, 4104, 4104)
    for name, lens in LENSES.items():
        captures.write_transforms(folder / name, SOURCE, **lens)
        for view in SOURCE.names:
            (folder / name / f"images/{view}.png").write_bytes(large)
    for suffix, content in BOMBS.items():
        captures.write_transforms(folder / suffix, SOURCE, {"file_path": f"bomb.{suffix}"})
        (folder / suffix / f"bomb.{suffix}").write_bytes(content)
    names = [*MAPS, *LENSES, *BOMBS]
    command = [sys.executable, "-c", LOAD, *(str(folder / name) for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: (folder / name, *found) for name, found in zip(names, json.loads(done.stdout), strict=True)}


@pytest.mark.fault(27, "headers of five formats that declare 2.5 gigapixels; peak memory of a process")
@pytest.mark.slow
@pytest.mark.parametrize("suffix", BOMBS)
def test_bombs_cost_nothing(loaded, suffix):
    _, said, grown = loaded[suffix]
    assert f"bomb.{suffix}" in said
    assert grown < 30 * MIB


@pytest.mark.outside(kind=KIND, case="maps of many pixels", right="what a view shows of them is read, or refused")
@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_maps(loaded, record_property, name):
    _, said, grown = loaded[name]
    record_property("got", f"{name}: {'refused' if said else 'read'}, {grown / MIB:.0f} MiB")
    assert ("pixels; at most" in said) == ("gigapixel" in name)
    assert grown < 600 * MIB


def ply(header: str, body: bytes = b"1 2 3\n") -> bytes:
    return f"ply\nformat {header}\nend_header\n".encode() + body


XYZ = "".join(f"property float {axis}\n" for axis in "xyz").strip()


@pytest.mark.outside(kind=KIND, case="PLY headers that lie", right="SceneFormatError before memory is taken")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"solid stl",
        ply("ascii 1.0\nelement vertex 3\nproperty float x", b"1\n2\n3\n"),
        ply(f"ascii 1.0\nelement vertex 2\n{XYZ}"),
        ply(f"binary_little_endian 1.0\nelement face 900000000\nproperty list uint int q\nelement vertex 1\n{XYZ}"),
        ply(f"ascii 1.0\nelement vertex 1000000000000\n{XYZ}"),
        ply(f"ascii 1.0\ncomment end_header\nelement vertex 1000000000000\n{XYZ}"),
        ply(f"binary_little_endian 1.0\nelement vertex 900000\n{XYZ}", bytes(2**20)),
        ply(f"ascii 1.0\nelement vertex 500\n{XYZ}", bytes(600)),
        ply(f"ascii 1.0\nelement vertex 1{'0' * 6000}\n{XYZ}"),
        ply(f"ascii 1.0\nelement vertex -1\n{XYZ}"),
        ply(f"ascii 1.0\ncomment {'x' * 2**17}\nelement vertex 1\n{XYZ}"),
        ply(f"ascii 1.0\nelement vertex 1\n{XYZ.replace('float x', 'list uchar float x')}", b"1 1 2 3\n"),
        ply("ascii 1.0\nelement vertex\nproperty"),
        ply("ascii 1.0\nproperty float x\nelement vertex 1"),
    ],
    ids=[
        *("an empty file", "another format", "one coordinate", "a row too few", "rows of lists"),
        *("10^12 rows", "after a comment", "more than the bytes", "two bytes a number", "a number of 6,000 digits"),
        *("a negative count", "a long header", "lists for coordinates", "no words", "a property of nothing"),
    ],
)
def test_headers(tmp_path, content):
    (tmp_path / "p.ply").write_bytes(content)
    with pytest.raises(SceneFormatError, match=r"p\.ply"):
        read_ply_points(tmp_path / "p.ply")


def planned(folder: Path) -> int:
    recipe = parse_recipe(
        {"scenes": [str(folder)], "operators": ["rgb"], "lifters": ["plane_sweep"], "image_height": 24, "sources": 2}
    )
    return plan(recipe, parse_execution({"store": str(folder / "store")})).peak_bytes


@pytest.mark.outside(kind=KIND, case="an image of many pixels and few bytes", right="the plan counts its decoding")
@pytest.mark.fault(29, "photographs of 20 megapixels, one after the other; peak memory of a process")
@pytest.mark.slow
@pytest.mark.parametrize("name", LENSES)
def test_the_plan_counts_the_largest_file(tmp_path, loaded, record_property, name):
    folder, said, grown = loaded[name]
    captures.write_transforms(tmp_path, SOURCE, **LENSES[name])
    # Measured is one at a time; beside the largest, a second thread decodes what may be decoded beside it.
    more = planned(folder) - planned(tmp_path) - LARGE_BYTES
    record_property("got", f"{name}: {more / MIB:.0f} MiB more planned, {grown / MIB:.0f} measured")
    assert said == ""
    assert more == pytest.approx(grown, rel=0.1)


@pytest.mark.outside(kind=KIND, case="memory that runs out while a scene is read", right="that scene's fault alone")
@pytest.mark.parametrize("error", [MemoryError(), OSError(13, "Permission denied"), OSError(40, "Too many links")])
def test_memory_that_runs_out(tmp_path, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    captures.write_transforms(tmp_path, SOURCE)
    monkeypatch.setattr("lift3d.scenes.transforms_json._load", fail)
    with pytest.raises(SceneFormatError, match="cannot be read"):
        read_scene(str(tmp_path))


@pytest.mark.outside(kind=KIND, case="maps of many pixels", right="what a view shows of them is read, or refused")
@pytest.mark.parametrize("kind", ["<u2", ">u2", "<f4", "<f8", "|u1"])
def test_numbers_of_maps_stay_what_they_are(tmp_path, kind):
    values = np.array([[0, 1, 200, 65535]] * 3).clip(0, np.iinfo(kind).max if "u" in kind else 65535).astype(kind)
    np.save(tmp_path / "d.npy", values)
    view = captures.read_transforms(tmp_path, SOURCE).views[0]
    frame = FileFrame(view.source.image, depth=str(tmp_path / "d.npy"), depth_scale=0.5)
    z_depth = frame.load_depth(view.camera, view.camera.size)
    right = torch.where(torch.tensor(values.astype(float)) > 0, torch.tensor(values * 0.5), torch.nan)[0].float()
    right[3] = torch.nan if values.dtype.itemsize == 2 else right[3]  # saturated
    torch.testing.assert_close(z_depth[0, ::16], right, equal_nan=True)


@pytest.mark.fault(27, "a PNG whose text, or whose colour profile, unpacks from kilobytes to 20 megabytes")
@pytest.mark.parametrize("kind", ["text", "profile"])
def test_what_a_png_carries_besides_pixels_is_not_unpacked(tmp_path, kind):
    path, much, info = tmp_path / "a.png", bytes(20 * MIB), PngImagePlugin.PngInfo()
    info.add_text("Comment", much.decode(), zip=True)
    options = {"pnginfo": info} if kind == "text" else {"icc_profile": much}
    Image.fromarray(captures.texture()).save(path, **options)
    assert path.stat().st_size < 200_000
    with pytest.raises(ImageError, match=r"a\.png"):
        decode_color(path, ImageSize(captures.HEIGHT, captures.WIDTH))


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
def test_no_file_is_read_that_is_larger_than_its_kind(tmp_path):
    size, image = 2**43, tmp_path / "images/000.png"
    view = captures.read_transforms(tmp_path, SOURCE).views[0]
    sparse(image, image.read_bytes(), size)
    with pytest.raises(ImageError, match="bytes"):
        view.source.content_digest()
    sparse(tmp_path / "transforms.json", b'{"frames": [', size)
    with pytest.raises(SceneFormatError, match="bytes"):
        read_scene(str(tmp_path))
    captures.write_scannet(tmp_path / "scannet", SOURCE)
    sparse(tmp_path / "scannet/pose/1.txt", b"1 0 0 0\n", size)
    assert [view.id for view in read_scene(str(tmp_path / "scannet")).dropped] == ["1"]


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    for count in (0, 1, 2**20, 2**20 + 1):
        path = tmp_path / f"{count}"
        path.write_bytes(content := bytes(index % 251 for index in range(count)))
        assert file_limits.digest_file(path, 2**21) == digest_bytes(content)


def peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.outside(kind=KIND, case="answers in files of many pixels", right="refused before they are decoded")
@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_answers_in_files(tmp_path, suffix):
    content = png(16_000, 12_000, 0) if suffix == "png" else npy_header((12_000, 16_000), "|u1")
    sparse(tmp_path / f"0000.{suffix}", content, max(len(content), 192_000_128 * (suffix == "npy")))
    operator = build_operator(f"files:{tmp_path}?pattern={{view}}.{suffix}")
    before = peak()
    with pytest.raises(SceneError, match=r"192000000 pixels.* 178956970"):
        operator.read("0000", ImageSize(12, 16))
    assert peak() - before < 64 * MIB
