"""Which reader a location gets, and which locations are refused."""

from pathlib import Path

import pytest

from lift3d.errors import ConfigError, SceneFormatError, UnknownNameError
from lift3d.scenes.catalog import READERS, SceneReader, read_scene, reader
from tests.support import captures

SOURCE = captures.capture()


@pytest.mark.parametrize("name", READERS)
def test_every_reader_keeps_the_protocol(name: str) -> None:
    assert isinstance(reader(name), SceneReader)
    assert not reader(name).recognizes("/no/such/place")
    with pytest.raises(UnknownNameError, match=f"Did you mean '{name}'"):
        reader(f"{name}x")


@pytest.mark.parametrize(
    "location",
    [
        "",
        "s3://bucket/scene",
        "memory://x",
        "https://host/scene",
        "ftp:thing",
        "file://host/x",
        "a\0b",
        "/no/such/place",
    ],
)
def test_other_places_are_refused(location: str) -> None:
    with pytest.raises(ConfigError):
        read_scene(location)


def test_file_urls_links_and_names_with_a_colon_are_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "take two"
    captures.write_transforms(folder, SOURCE)
    assert read_scene(folder.as_uri()).id == "take two"
    captures.write_transforms(tmp_path / "ab:c", SOURCE)
    monkeypatch.chdir(tmp_path)
    scene = read_scene("ab:c")
    assert scene.id == "ab:c"
    monkeypatch.chdir("/")
    assert scene.views[0].load(24).image.shape[1] == 24, "workers run in other folders"
    (tmp_path / "alias").symlink_to(folder)
    assert read_scene(str(tmp_path / "alias")).id == "alias"


def test_what_a_folder_holds_is_said(tmp_path: Path) -> None:
    with pytest.raises(SceneFormatError, match=r"transforms\.json.*COLMAP.*empty"):
        read_scene(str(tmp_path))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "photos").mkdir()
    with pytest.raises(SceneFormatError, match=r"holds: notes\.txt, photos/"):
        read_scene(str(tmp_path))
    with pytest.raises(SceneFormatError, match="not a folder"):
        read_scene(str(tmp_path / "notes.txt"))
    (tmp_path / "walk.r3d").touch()
    with pytest.raises(SceneFormatError, match="unzip it"):
        read_scene(str(tmp_path / "walk.r3d"))
    (tmp_path / "walk.r3d").unlink()
    captures.write_transforms(tmp_path, SOURCE)
    captures.write_colmap(tmp_path / "sparse/0", SOURCE)
    assert "colmap" in read_scene(str(tmp_path)).notes[0], "the other format is noted"
