"""What files promise costs no memory, and what is large is worked on piece by piece: measured in fresh processes."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.support import captures

MIB = 2**20
# Prints the peak of the process before and after each step, in bytes.
MEASURE = """
import json, resource, sys
import torch
from lift3d.domain.camera import Camera, ImageSize
from lift3d.errors import SceneError
from lift3d.scenes.images import FileFrame, image_size

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

peaks, refused = [peak()], 0
for group in json.loads(sys.argv[1]):
    for path in group:
        try:
            size = image_size(path)
            K = torch.tensor([[size.width, 0, size.width / 2], [0, size.width, size.height / 2], [0, 0, 1.0]])
            FileFrame(path).load(Camera(K, torch.eye(4), size), size.with_height(256))
        except SceneError:
            refused += 1
    peaks.append(peak())
print(json.dumps([refused, *peaks]))
"""
# Two arrays of float32 and the decoder's own of a photograph of 20 megapixels.
LARGE_IMAGE_BYTES = 20e6 * 3 * 9
SCENE = """
import json, resource, sys, time
from lift3d.runs.plan import scene_size
from lift3d.config import parse_recipe
from lift3d.scenes.catalog import read_scene

recipe = parse_recipe({"scenes": [sys.argv[1]], "operators": ["rgb"], "lifters": ["plane_sweep"], "holdout": 100})
start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scene = read_scene(sys.argv[1])
size = scene_size(scene.views, recipe)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([size.view_count, size.target_count, time.monotonic() - start, 1024 * (peak - before)]))
"""


def measured(program: str, *arguments: str) -> list[float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout)


def bombs(folder: Path) -> list[str]:
    """Write files of a few bytes that declare 50,000 × 50,000 pixels, in every format that can."""
    side = 50_000
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    lines = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    contents = {
        "a.png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)),
        "a.bmp": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + lines,
        "a.gif": b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b";",
        "a.ppm": f"P6 {side} {side} 255\n".encode(),
        "a.jpg": b"\xff\xd8\xff\xc0\x00\x11\x08"
        + struct.pack(">HH", side, side)
        + bytes.fromhex("03011100021100031100"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [str(folder / name) for name in contents]


@pytest.mark.fault(27, "headers of five formats that declare 2.5 gigapixels; peak memory of a process")
@pytest.mark.fault(29, "photographs of 20 megapixels, one after the other; peak memory of a process")
def test_bombs_cost_nothing_and_large_images_no_more_than_one_of_them(tmp_path):
    Image.effect_noise((5472, 3648), 50).convert("RGB").save(tmp_path / "0.jpg", quality=50)
    large = [str(tmp_path / "0.jpg")] * 4
    few = bombs(tmp_path)
    refused, start, after_bombs, after_one, after_all = measured(MEASURE, json.dumps([few, large[:1], large[1:]]))
    assert refused == len(few)
    assert after_bombs - start < 30 * MIB
    assert after_one - start < LARGE_IMAGE_BYTES
    assert after_all - after_one < 30 * MIB


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.fault(29, "a capture of 10,000 views is read and planned; time and peak memory of a process")
def test_ten_thousand_views_are_read_and_planned_in_bounds(tmp_path):
    count = 10_000
    source = captures.capture(count)
    captures.write_images(tmp_path / "images", ["0"])
    for index in range(1, count):
        os.link(tmp_path / "images/0.png", tmp_path / f"images/{index}.png")
    names = [f"images/{index}.png" for index in range(count)]
    captures.write_json(tmp_path / "transforms.json", captures.transforms(source, names))
    views, targets, seconds, grown = measured(SCENE, str(tmp_path))
    assert (views, targets) == (count, count // 100)
    assert seconds < 300
    assert grown < 1024 * MIB
