"""Small files that promise much: memory follows what is there. Measured in a process of its own, whose peak counts."""

import json
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lift3d.config import parse_execution, parse_recipe
from lift3d.errors import SceneFormatError
from lift3d.runs.plan import plan
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.images import FileFrame
from lift3d.scenes.ply import read_ply_points
from tests.support import captures

SOURCE = captures.capture()
KIND = "6 small input, huge memory"
MIB = 2**20
# Loads the second view of each scene at a small size; prints how far the process's peak rose above what it held, bytes.
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
    before, said = status("VmRSS"), ""
    try:
        read_scene(location).views[1].load(24)
    except Lift3dError as error:
        said = str(error)
    found.append([said, status("VmHWM") - before])
print(json.dumps(found))
"""
MAPS = {
    "depth of a gigapixel": ("depth_file_path", (28_000, 38_000), "|u1"),
    "labels of a gigapixel": ("label_file_path", (28_000, 38_000), "|u1"),
    "depth": ("depth_file_path", (12_000, 14_000), "<u2"),
    "labels": ("label_file_path", (12_000, 14_000), "<i4"),
}
LENSES = {"pinhole": {}, "lens": {"k1": 0.01}, "mask": {"mask_path": "images/001.png"}}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """By what a scene holds: its folder, what was said, and by how much the peak of memory rose."""
    folder = tmp_path_factory.mktemp("small")
    large_image(folder / "large.png", 4000, 3000)
    for name, (key, shape, kind) in MAPS.items():
        captures.write_transforms(folder / name, SOURCE)
        sparse_array(folder / name / "map.npy", shape, kind)
        content = json.loads((folder / name / "transforms.json").read_text())
        content["frames"][1][key] = "map.npy"
        captures.write_json(folder / name / "transforms.json", content)
    for name, lens in LENSES.items():
        captures.write_transforms(folder / name, SOURCE, **lens)
        shutil.copy(folder / "large.png", folder / name / "images/001.png")
    names = [*MAPS, *LENSES]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *(str(folder / name) for name in names)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name: (folder / name, *found) for name, found in zip(names, json.loads(done.stdout), strict=True)}


def sparse_array(path: Path, shape: tuple[int, int], kind: str) -> None:
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
        stream.truncate(stream.tell() + shape[0] * shape[1] * np.dtype(kind).itemsize)


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
        ply(f"ascii 1.0\nelement vertex 1000000000000\n{XYZ}"),
        ply(f"ascii 1.0\ncomment end_header\nelement vertex 1000000000000\n{XYZ}"),
        ply(f"binary_little_endian 1.0\nelement vertex 900000\n{XYZ}", bytes(2**20)),
        ply(f"ascii 1.0\nelement vertex 500\n{XYZ}", bytes(600)),
        ply(f"ascii 1.0\nelement vertex 1{'0' * 6000}\n{XYZ}"),
        ply(f"ascii 1.0\nelement vertex -1\n{XYZ}"),
        ply(f"ascii 1.0\ncomment {'x' * 2**17}\nelement vertex 1\n{XYZ}"),
        ply(
            "ascii 1.0\nelement vertex 1\nproperty list uchar float x\nproperty float y\nproperty float z", b"1 1 2 3\n"
        ),
        ply("ascii 1.0\nelement vertex\nproperty"),
        ply("ascii 1.0\nproperty float x\nelement vertex 1"),
    ],
    ids=[
        *("10^12 rows", "after a comment", "more than the bytes", "two bytes a number", "a number of 6,000 digits"),
        *("a negative count", "a long header", "lists for coordinates", "no words", "a property of nothing"),
    ],
)
def test_headers(tmp_path, content):
    (tmp_path / "p.ply").write_bytes(content)
    with pytest.raises(SceneFormatError, match=r"p\.ply"):
        read_ply_points(tmp_path / "p.ply")


def large_image(path: Path, width: int, height: int) -> None:
    """Write a black PNG of many pixels and few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width * 3 + 1)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def planned(folder: Path) -> int:
    recipe = parse_recipe(
        {"scenes": [str(folder)], "operators": ["rgb"], "lifters": ["plane_sweep"], "image_height": 24, "sources": 2}
    )
    return plan(recipe, parse_execution({"store": str(folder / "store")})).peak_bytes


@pytest.mark.outside(kind=KIND, case="an image of many pixels and few bytes", right="the plan counts its decoding")
@pytest.mark.slow
@pytest.mark.parametrize("name", LENSES)
def test_the_plan_counts_the_largest_file(tmp_path, loaded, record_property, name):
    folder, said, grown = loaded[name]
    captures.write_transforms(tmp_path, SOURCE, **LENSES[name])
    more = planned(folder) - planned(tmp_path)
    record_property("got", f"{name}: {more / MIB:.0f} MiB more planned, {grown / MIB:.0f} measured")
    assert said == ""
    assert grown < more < 2 * grown


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
    captures.write_images(tmp_path, ["a"], size=(4, 3))
    captures.write_transforms(tmp_path, SOURCE)
    view = read_scene(str(tmp_path)).views[0]
    frame = FileFrame(view.source.image, depth=str(tmp_path / "d.npy"), depth_scale=0.5)
    z_depth = frame.load_depth(view.camera, view.camera.size)
    saturated = values.dtype.itemsize == 2
    right = torch.where(torch.tensor(values.astype(float)) > 0, torch.tensor(values * 0.5), torch.nan)[0].float()
    right[3] = torch.nan if saturated else right[3]
    torch.testing.assert_close(z_depth[0, ::16], right, equal_nan=True)
