"""The command as people use it: what it says of posed scenes, of photographs, and of what is neither."""

import json
import os
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from lift3d.cli import app as cli
from lift3d.cli.ingest import IngestedScene, IngestOptions, ingest_and_present
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.ingest.folder import IngestRecord
from lift3d.scenes.catalog import read_scene
from tests.support import captures
from tests.support.photographs import write_texture

ROOM = "procedural:room?views=4&height=24&width=32"
CONTENT = {
    "source": "photographs",
    "identity": "0" * 16,
    "versions": {},
    "photographs": 10,
    "registered": [f"{number}.jpg" for number in range(9)],
    "unregistered": ["9.jpg"],
    "skipped": [],
    "other_groups": [],
    "is_thorough": False,
    "matching": "exhaustive",
    "options": {"matching": "auto", "frames": None, "image_size": 1600, "has_one_camera": True},
    "points": 1234,
    "median_track_length": 4.0,
    "mean_reprojection_error_px": 0.512,
    "cameras": [{"model": "SIMPLE_RADIAL", "height": 3000, "width": 4000, "params": [3100.0, 2000.0, 1500.0, 0.01]}],
    "seconds": 61.7,
}


def command(*arguments):
    return CliRunner().invoke(cli.app, ["ingest", *(str(one) for one in arguments)])


def test_a_computed_scene_says_what_it_holds_as_lines_and_as_json():
    found = json.loads(command(ROOM, "--json").stdout)
    expected = {"kind": "posed", "format": "procedural", "views": 4, "image_sizes": {"24×32": 4}, "has_instances": True}
    expected |= {"lenses": {"pinhole": 4}, "views_with_depth": 4, "views_with_labels": 4}
    assert {name: found[name] for name in expected} == expected
    assert found["points"] > 0
    text = command(ROOM).stdout
    assert "depth          all views" in text
    assert text.splitlines()[-1].startswith(f"next           lift3d run {shlex.quote(ROOM)} ")


def test_a_posed_folder_says_which_views_are_dropped_and_why(tmp_path):
    capture = captures.capture()
    captures.write_images(tmp_path / "desk/images", capture.names)
    captures.write_colmap(tmp_path / "desk/sparse/0", capture)
    missing = next((tmp_path / "desk/images").iterdir())
    missing.unlink()
    found = ingest_and_present(str(tmp_path / "desk"), None, IngestOptions())
    said = found.to_json()
    assert (said["format"], said["views"]) == ("colmap", len(capture.names) - 1)
    assert [one["reason"] for one in said["dropped"]] == ["image"]
    assert f"Image file '{missing.name}' is missing" in found.to_text()
    assert "depth          none" in found.to_text()
    with pytest.raises(ConfigError, match=r"nothing to write to OUT.*lift3d run .*lift3d ingest .*images OUT"):
        ingest_and_present(str(tmp_path / "desk"), tmp_path / "out", IngestOptions())


def test_few_registered_photographs_come_with_advice_that_fits():
    names = [f"{number}.jpg" for number in range(10)]
    few = {"registered": names[:3], "unregistered": names[3:], "other_groups": [4], "matching": "sequential"}
    text = IngestedScene(Path("a room"), IngestRecord(**{**CONTENT, **few}), True).to_text()
    assert "registered     3 of 10 photographs (62 s)" in text
    assert "3.jpg, 4.jpg, 5.jpg, 6.jpg, 7.jpg and 2 more" in text
    for advice in ("overlap", "Groups of 4", "--matching exhaustive", "--image-size 4000", "--many-cameras"):
        assert advice in text
    assert text.splitlines()[-1].startswith("next           lift3d run 'a room' ")
    walked = IngestRecord(**{**CONTENT, **few, "options": IngestOptions(frames=10)})
    video = IngestedScene(Path("a room"), walked, True).to_text()
    assert ("Take more photographs" in text, "Take more photographs" in video) == (True, False)
    assert "to get more    Take more frames of the video: --frames 20." in video
    well = IngestedScene(Path("desk"), IngestRecord(**CONTENT), True).to_text()
    assert "not registered 9.jpg" in well
    assert "to get more" not in well


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("nowhere", ConfigError, "does not exist"),
        ("empty", SceneFormatError, "holds no photograph.*It is empty"),
        ("texts", SceneFormatError, r"holds no photograph.*It holds: notes.txt"),
        ("single", SceneFormatError, "1 usable photographs; at least 3"),
        ("single/a.png", SceneFormatError, "is one photograph"),
        ("texts/notes.txt", SceneFormatError, "does not open as a video.*ffmpeg"),
        ("broken", SceneFormatError, r"0 usable photographs.*a\.jpg.*b\.heic"),
        ("s3://bucket/photographs", ConfigError, "scheme 's3'"),
    ],
)
def test_what_gives_no_scene_says_why_and_leaves_nothing(given, error, said, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, name in (("texts", "notes.txt"), ("broken", "a.jpg"), ("broken", "b.heic")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("no photograph")
    write_texture(tmp_path / "single/a.png", 0)
    before = sorted(os.listdir(tmp_path))
    source = given if "://" in given else str(tmp_path / given)
    with pytest.raises(error, match=said):
        ingest_and_present(source, tmp_path / "out", IngestOptions())
    assert sorted(os.listdir(tmp_path)) == before


def test_out_must_be_given_apart_from_the_photographs_and_free(tmp_path):
    photographs = tmp_path / "photographs"
    for seed in range(3):
        write_texture(photographs / f"{seed}.png", seed)
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("dear")
    (tmp_path / "file").write_text("dear")
    (tmp_path / "link").symlink_to(photographs)
    for out, said in (
        (None, "no camera poses yet.*OUT"),
        (photographs / "sparse", "lies in the folder of the photographs"),
        (tmp_path / "link/sparse", "lies in the folder of the photographs"),
        (full, "not empty. Choose another folder"),
        (tmp_path / "file", "not empty. Choose another folder"),
        (tmp_path / "file/scene", "cannot be written"),
    ):
        with pytest.raises(ConfigError, match=said):
            ingest_and_present(str(photographs), out, IngestOptions())
    assert sorted(os.listdir(photographs)) == ["0.png", "1.png", "2.png"]
    assert (full / "thesis.tex").read_text() == "dear"


@pytest.mark.parametrize("given", [{"frames": 2}, {"image_size": 0}, {"matching": "psychic"}])
def test_options_out_of_range_are_refused(given):
    with pytest.raises(ConfigError, match=r"expected|needed"):
        IngestOptions(**given)


def test_photographs_without_poses_are_sent_to_ingest(tmp_path):
    (tmp_path / "IMG_1.JPG").touch()
    with pytest.raises(SceneFormatError, match="lift3d ingest"):
        read_scene(str(tmp_path))
    (tmp_path / "IMG_1.JPG").rename(tmp_path / "notes.txt")
    with pytest.raises(SceneFormatError, match="No reader recognises") as caught:
        read_scene(str(tmp_path))
    assert "ingest" not in str(caught.value)
