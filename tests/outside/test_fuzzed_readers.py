"""Files of every format with a few of their bytes, words and numbers changed: only errors of our own come of it.

``FUZZ_CASES=5000`` says how many in all, drawn anew each time; without it there are few, and always the same.
"""

import os
import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift3d.errors import Lift3dError, SceneError
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.colmap_dense import read_depth_map, read_workspace
from tests.support import captures

SOURCE = captures.capture(3)
MIB = 2**20
FEW, MANY = 20, int(os.environ.get("FUZZ_CASES", "0"))
LONGEST = 4000
MOST_BYTES, MOST_SECONDS = 1024 * MIB, 10
NUMBERS = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e300, 1e-300, 5e-324, 2.0**40, 1.5)
WORDS = (
    *(b"nan", b"-1", b"0", b"1e309", b"1e300", b"5e-324", b"null", b"true", b"[]", b"{}", b'""', b'"../x"', b'"/etc"'),
    *(b"9" * 30, b"9" * 5000, b'"' + b"a" * 300 + b'"', b'"' + b"a/" * 3000 + b'"', b"[" * 2000, b"#", b"\n", b" "),
    *(b"\xff\xfe", b"\x00", b'"\\ud800"', b"1000000000000", b"x"),
)
PIECES = (
    *(struct.pack("<d", one) for one in NUMBERS),
    *(struct.pack("<Q", one) for one in (0, 1, 2**31, 2**40, 2**63, 2**64 - 1)),
    *(struct.pack("<I", one) for one in (0, 99, 2**31, 2**32 - 1)),
    bytes(32), b"\xff" * 40, b"", b"\x00",
)  # fmt: skip
TOKEN = re.compile(rb'"[^"]*"|[^\s"\[\]{},:]+')


def with_everything(folder: Path) -> None:
    captures.write_transforms(
        folder, SOURCE, k1=0.01, mask_path="mask.png", ply_file_path="p.ply", label_names={"1": "a"}, label_ignore=0,
        applied_transform=np.eye(4)[:3].tolist(), depth_unit_scale_factor=0.001,
    )  # fmt: skip
    content = captures.transforms(SOURCE)
    for index, frame in enumerate(content["frames"]):
        captures.write_depth(folder / f"depth/{index}.png", 3000)
        frame |= {"depth_file_path": f"depth/{index}.png", "label_file_path": "labels.npy"}
    shared = {"k1": 0.01, "mask_path": "mask.png", "ply_file_path": "p.ply", "label_names": {"1": "a"}}
    captures.write_json(folder / "transforms.json", {**content, **shared})
    np.save(folder / "labels.npy", np.ones((6, 8), np.int32))
    captures.write_images(folder, ["mask"])
    captures.write_ply(folder / "p.ply", SOURCE.points)


def with_splats(folder: Path) -> None:
    captures.write_transforms(folder, SOURCE, ply_file_path="p.ply", camera_angle_x=0.8, fl_x=None, fl_y=None)
    captures.write_ply(folder / "p.ply", SOURCE.points, "binary_little_endian")


def colmap(folder: Path, form: str) -> None:
    captures.write_images(folder / "images", SOURCE.names)
    captures.write_images(folder / "masks", [f"{name}.png" for name in SOURCE.names])
    captures.write_colmap(
        folder / "sparse/0", SOURCE, forms=[form], model="OPENCV", params=(70, 66, 30, 26, 0.1, 0, 0, 0)
    )


def dense(folder: Path) -> None:
    colmap(folder, "bin")
    (folder / "stereo/depth_maps").mkdir(parents=True)
    for name in SOURCE.names:
        head = f"{captures.WIDTH}&{captures.HEIGHT}&1&".encode()
        content = head + np.ones((captures.HEIGHT, captures.WIDTH), "<f4").tobytes()
        (folder / f"stereo/depth_maps/{name}.png.geometric.bin").write_bytes(content)


FORMS: dict[str, Callable[[Path], None]] = {
    "transforms.json": with_everything,
    "transforms.json with splats": with_splats,
    "COLMAP, binary": partial(colmap, form="bin"),
    "COLMAP, text": partial(colmap, form="txt"),
    "COLMAP, dense": dense,
    "LLFF": partial(captures.write_llff, source=SOURCE),
    "ScanNet": partial(captures.write_scannet, source=SOURCE),
    "7-Scenes": partial(captures.write_seven_scenes, source=SOURCE, with_intrinsics=False),
    "3DMatch": partial(captures.write_seven_scenes, source=SOURCE),
    "IDR": partial(captures.write_idr, source=SOURCE),
}
SHARE = st.floats(0, 1, exclude_max=True)
EDITS = st.lists(
    st.tuples(SHARE, st.sampled_from(["word", "number", "over", "insert", "cut", "repeat"]), SHARE, SHARE),
    min_size=1,
    max_size=3,
)


def one_of(several, share: float):
    return several[int(share * len(several))]


def edited(path: Path, how: str, place: float, what: float) -> bytes:
    """Return the content of a file with one thing changed, at a place and to a thing, both shares of what there is."""
    content = path.read_bytes()
    if path.suffix in (".npy", ".npz") and how in ("word", "number"):
        return _edited_array(path, place, one_of(NUMBERS, what))
    if how in ("word", "number"):
        tokens = list(TOKEN.finditer(content[: 64 * 1024]))
        if tokens:
            token, new = (
                one_of(tokens, place),
                one_of(WORDS, what) if how == "word" else repr(one_of(NUMBERS, what)).encode(),
            )
            return content[: token.start()] + new + content[token.end() :]
    at, piece = int(place * (len(content) + 1)), one_of(PIECES, what)
    ends = {"over": at + len(piece), "cut": at + int(what * len(content)), "repeat": max(0, at - 64)}
    return content[:at] + (b"" if how == "cut" else piece) + content[ends.get(how, at) :]


def _edited_array(path: Path, place: float, value: float) -> bytes:
    loaded = np.load(path)
    arrays = dict(loaded) if path.suffix == ".npz" else {"": loaded}
    array = one_of(sorted(arrays.items()), place)[1]
    with np.errstate(all="ignore"):
        places, at = array.reshape(-1), int(place * 1e6) % array.size
        places[at] = value if array.dtype.kind == "f" else np.clip(np.nan_to_num(value), -1, 2**30)
    other = path.with_suffix(".edited" + path.suffix)
    np.savez(other, **arrays) if path.suffix == ".npz" else np.save(other, array)
    try:
        return other.read_bytes()
    finally:
        other.unlink()


def use(folder: Path) -> str:
    """Read a scene and load it, as a run does; return what came of it."""
    try:
        scene = read_scene(str(folder))
    except Lift3dError as error:
        return "refused" if len(str(error)) <= LONGEST else "refused at length"
    loaded = 0
    for view in scene.views:
        with suppress(SceneError):
            view.source.content_digest()
            view.load(24)
            loaded += 1
    if (folder / "stereo").is_dir():
        with suppress(SceneError):
            for one in read_workspace(folder).values():
                if one.depth_map is not None:
                    read_depth_map(one.depth_map)
    return "whole" if loaded == len(SOURCE.c2w) else "without some views"


def held(key: str) -> int:
    return 1024 * int(re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text()).group(1))


def fuzz(folder: Path, form: str, count: int) -> str:
    """Try a number of changed scenes; return the counts."""
    FORMS[form](folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    original = {path: path.read_bytes() for path in files}
    # Files that are not images are changed as often as all images together.
    pool = [path for path in files if path.suffix not in (".png", ".jpg")] + files
    came: dict[str, int] = {}
    slowest = [0.0]

    @settings(max_examples=count, derandomize=not MANY, database=None)
    @given(EDITS)
    def attempt(edits):
        changed = {one_of(pool, share): None for share, *_ in edits}
        try:
            for share, *how in edits:
                path = one_of(pool, share)
                # An array that an edit before this one broke cannot be edited as one.
                with suppress(Exception):
                    path.write_bytes(edited(path, *how))
            start = time.process_time()
            outcome = use(folder)
            slowest[0] = max(slowest[0], time.process_time() - start)
            came[outcome] = came.get(outcome, 0) + 1
        finally:
            for path in changed:
                path.write_bytes(original[path])

    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    attempt()
    grown = held("VmHWM") - before
    counts = ", ".join(f"{number} {outcome}" for outcome, number in sorted(came.items()))
    assert "refused at length" not in came
    assert grown < MOST_BYTES
    assert slowest[0] < MOST_SECONDS
    return f"{form}: {sum(came.values())} cases ({counts}), {grown / MIB:.0f} MiB, {slowest[0]:.1f} s of CPU at most"


MARK = pytest.mark.outside(
    kind="6 small input, huge memory",
    case="files of scenes with anything changed",
    right="only errors of our own, under 1 GiB and 10 s of CPU each",
)


@MARK
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", FORMS)
def test_few(tmp_path, record_property, form):
    record_property("got", fuzz(tmp_path, form, FEW))


@MARK
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", FORMS)
def test_many(tmp_path, record_property, form):
    record_property("got", fuzz(tmp_path, form, (MANY or 1000) // len(FORMS)))
