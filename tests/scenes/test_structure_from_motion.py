"""Photographs whose cameras are known: found again up to a similarity; what goes wrong leaves nothing behind."""

import hashlib
import os
import re
import sys
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pycolmap
import pytest
from PIL import Image, ImageOps

from lift3d.errors import ConfigError, SceneFormatError
from lift3d.ingest import folder as ingest_folder
from lift3d.ingest.folder import INGEST_FILE, IngestRecord, ingest
from lift3d.ingest.photographs import copy_photographs, find_photographs
from lift3d.ingest.similar_photographs import likely_pairs
from lift3d.ingest.structure_from_motion import Found, IngestOptions
from lift3d.ingest.video_frames import copy_frames, count_frames
from lift3d.scenes.catalog import read_scene
from tests.support.photographs import write_photographs, write_texture
from tests.support.warping import rotation_angle

LOCATION = "procedural:room?views=10&height=240&width=320"
CAMERAS = read_scene(LOCATION)


def unheard(stage: str, done: int, total: int) -> None:
    """Report to nobody."""


def tree(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    return write_photographs(CAMERAS, tmp_path_factory.mktemp("own") / "photographs")


@pytest.fixture(scope="module")
def ingested(photographs, tmp_path_factory):
    """Ingest all of them, and return the folder, what it says of itself, and what was reported."""
    heard: list[tuple[str, int, int]] = []
    before = tree(photographs)
    out = tmp_path_factory.mktemp("scenes") / "room"
    said, is_new = ingest(photographs, out, IngestOptions(), lambda *step: heard.append(step))
    assert is_new
    assert tree(photographs) == before, "the photographs are never touched"
    return out, said, heard


def test_cameras_are_found_up_to_a_similarity(ingested):
    out, said, _ = ingested
    scene = read_scene(str(out))
    assert len(scene.views) == len(said.registered) >= 9
    true = {view.id: view.camera for view in CAMERAS.views}
    found = np.stack([view.camera.center.numpy() for view in scene.views])
    centers = np.stack([true[view.id].center.numpy() for view in scene.views])
    aligned = pycolmap.estimate_sim3d(found, centers).matrix() @ np.c_[found, np.ones(len(found))].T
    extent = np.linalg.norm(centers - centers.mean(0), axis=1).max()
    assert np.linalg.norm(aligned.T - centers, axis=1).max() < 0.01 * extent
    first = scene.views[0]
    for view in scene.views[1:]:
        turn = view.camera.w2c[:3, :3] @ first.camera.w2c[:3, :3].T
        true_turn = true[view.id].w2c[:3, :3] @ true[first.id].w2c[:3, :3].T
        # The focal length is found along with the turns, of up to 21 degrees, and gives and takes with them.
        assert np.degrees(rotation_angle(turn, true_turn)) < 0.5
    assert float(first.camera.K[0, 0]) == pytest.approx(float(true[first.id].K[0, 0]), rel=0.03)
    assert said.mean_reprojection_error_px < 1
    assert said.points == len(scene.points) > 200
    assert said.median_track_length >= 2


def test_the_folder_is_colmaps_with_the_photographs_themselves(ingested, photographs):
    out, said, heard = ingested
    assert tree(out / "images") == tree(photographs)
    assert {"cameras.bin", "images.bin", "points3D.bin"} <= set(os.listdir(out / "sparse/0"))
    assert sorted(os.listdir(out)) == ["images", INGEST_FILE, "sparse"]
    assert os.listdir(out.parent) == [out.name], "nothing is left beside it"
    assert IngestRecord.model_validate_json((out / INGEST_FILE).read_text()) == said
    assert not os.path.samefile(out / "images/0000.png", photographs / "0000.png")
    last = {stage: (done, total) for stage, done, total in heard}
    assert last["copying"] == last["features"] == (10, 10)
    assert last["matches"] == (45, 45)
    assert last["views"] == (len(said.registered), 10)


def test_a_finished_scene_is_returned_and_another_one_refused(ingested, photographs):
    out, said, _ = ingested
    before = tree(out)
    assert ingest(photographs, out, IngestOptions(), unheard) == (said, False)
    with pytest.raises(ConfigError, match="other photographs or options"):
        ingest(photographs, out, IngestOptions(image_size=800), unheard)
    assert tree(out) == before


def test_the_same_photographs_give_the_same_bytes(photographs, tmp_path):
    some = tmp_path / "some"
    some.mkdir()
    for number in range(4):
        (some / f"my photo {number}.png").write_bytes((photographs / f"{number + 3:04d}.png").read_bytes())
    for name in ("a", "b"):
        said, _ = ingest(some, tmp_path / name, IngestOptions(matching="similar"), unheard)
    assert tree(tmp_path / "a/sparse") == tree(tmp_path / "b/sparse")
    assert set(said.registered) <= set(os.listdir(some))


def test_photographs_are_compared_with_those_that_show_the_same():
    random = np.random.default_rng(0)
    places = random.integers(0, 256, (4, 300, 128))

    def seen_of(place):
        noisy = place[random.permutation(300)[:200]] + random.integers(-9, 10, (200, 128))
        return noisy.clip(0, 255).astype(np.uint8)

    pairs = likely_pairs(seen_of(places[at % 4]) for at in range(64))
    # Of 2016 pairs those of one place, sixteen photographs each, and neighbours by name.
    alike = {pair for pair in combinations(range(64), 2) if (pair[1] - pair[0]) % 4 == 0}
    assert len(set(pairs) & alike) == len(alike) == 480
    assert len(pairs) < 750


def test_an_interrupted_ingest_leaves_nothing(photographs, tmp_path):
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "features":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(photographs, tmp_path / "out", IngestOptions(), interrupt)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_ingest_left_goes_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "here")
    # Process ids end far below this one; another machine's cannot be told dead, and stay.
    for name in (".out.ingest-here-99999999", ".out.ingest-there-99999999"):
        (tmp_path / name).mkdir()
    source = tmp_path / "two"
    write_texture(source / "a.png", 0)
    with pytest.raises(SceneFormatError, match="1 usable photographs; at least 3"):
        ingest(source, tmp_path / "out", IngestOptions(), unheard)
    assert sorted(os.listdir(tmp_path)) == [".out.ingest-there-99999999", "two"]


def test_pictures_of_different_things_are_no_scene(tmp_path):
    heard: set[str] = set()
    for seed in range(3):
        write_texture(tmp_path / f"photographs/{seed}.png", seed)
    with pytest.raises(SceneFormatError, match=r"0 of 3 photographs were found.*overlap"):
        ingest(tmp_path / "photographs", tmp_path / "out", IngestOptions(), lambda stage, *_: heard.add(stage))
    assert {"features", "features-again", "matches-again"} <= heard
    assert os.listdir(tmp_path) == ["photographs"]


def test_photographs_are_found_in_nested_folders_and_unreadable_ones_named(tmp_path):
    source, images = tmp_path / "photographs", tmp_path / "images"
    write_texture(source / "a.JPG", 0)
    write_texture(source / "left/b.png", 1)
    write_texture(source / ".thumbnails/c.png", 1)
    write_texture(source / "web.webp", 2)
    (source / "phone.HEIC").write_bytes(b"....ftypheic")
    (source / "broken.jpg").write_bytes((source / "a.JPG").read_bytes()[:3000])
    (source / "notes.txt").write_text("no photograph")
    names = find_photographs(source)
    assert names == ["a.JPG", "broken.jpg", "left/b.png", "phone.HEIC", "web.webp"]
    taken, skipped = copy_photographs(source, names, images, unheard)
    assert [one.name for one in taken] == ["a.JPG", "left/b.png", "web.png"]
    assert {one.name: one.reason for one in skipped}.keys() == {"broken.jpg", "phone.HEIC"}
    assert "JPEG" in skipped[1].reason
    assert (images / "a.JPG").read_bytes() == (source / "a.JPG").read_bytes()


PHONES = [(3, ".heic"), (6, ".HEIC")]


@pytest.mark.parametrize(("orientation", "suffix"), [*((one, ".jpg") for one in range(1, 9)), *PHONES])
def test_copies_are_upright_and_keep_the_focal_length(orientation, suffix, tmp_path, monkeypatch):
    pixels = np.kron(
        np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Focal length as on 35 mm film, which is 36 mm by 24 mm; diagonals are compared.
    exif.get_ifd(0x8769)[0xA405] = 36
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/a.jpg", exif=exif, quality=95)
    name = f"a{suffix}"
    if suffix != ".jpg":
        pillow_heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "in" / name, exif=exif.tobytes(), quality=95)
        with monkeypatch.context() as lacking:
            lacking.setitem(sys.modules, "pillow_heif", None)
            _, skipped = copy_photographs(tmp_path / "in", [name], tmp_path / "out", unheard)
        assert re.search(r"Install it with: pip install 'lift3d\[phone\]'.*export it as JPEG", skipped[0].reason)
    taken, _ = copy_photographs(tmp_path / "in", [name], tmp_path / "out", unheard)
    assert [one.name for one in taken] == ["a.jpg"]
    with Image.open(tmp_path / "in/a.jpg") as stored, Image.open(tmp_path / "out/a.jpg") as written:
        upright = np.asarray(ImageOps.exif_transpose(stored)).astype(int)
        copied = np.asarray(written).astype(int)
        assert written.getexif().get(0x0112, 1) == 1
    assert copied.shape == upright.shape
    # Written anew with chroma at half size, blocks of one colour change at their borders alone.
    assert np.median(np.abs(copied - upright)) <= 2
    assert (taken[0].size.height, taken[0].size.width) == upright.shape[:2]
    assert taken[0].focal_px == pytest.approx(36 * np.hypot(128, 96) / np.hypot(36, 24), rel=1e-3)


def test_of_each_stretch_of_a_video_the_sharpest_frame_is_taken(tmp_path, monkeypatch):
    video, sharp = tmp_path / "walk.avi", (2, 5, 6, 11)
    texture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(12):
        writer.write(texture if number in sharp else cv2.GaussianBlur(texture, (0, 0), 3))
    writer.release()
    assert count_frames(video) == 12
    taken = copy_frames(video, 4, tmp_path / "images", unheard)
    assert [one.name for one in taken] == [f"frame_{number:06d}.jpg" for number in sharp]
    assert sorted(os.listdir(tmp_path / "images")) == [one.name for one in taken]
    assert len(copy_frames(video, 100, tmp_path / "all", unheard)) == 12, "there are no more"
    looked = []
    nothing = Found((), is_thorough=True, matching="similar")
    monkeypatch.setattr(ingest_folder, "reconstruct", lambda *given: looked.append(given[4]) or nothing)
    for options in (IngestOptions(), IngestOptions(matching="sequential")):
        with pytest.raises(SceneFormatError, match="0 of 12 photographs"):
            ingest(video, tmp_path / "scene", options, unheard)
    assert looked == [("sequential", "similar"), ("sequential", "sequential")], "loops are found where few fit together"
