"""What COLMAP models hold besides cameras that are already in our conventions."""

from pathlib import Path

import pytest
from PIL import Image

from lift3d.scenes.catalog import read_scene
from tests.support import captures

SOURCE = captures.capture()


def test_the_model_with_most_images_is_read_binary_before_text_and_the_others_noted(tmp_path: Path) -> None:
    captures.write_colmap_scene(tmp_path, SOURCE, count=2)
    captures.write_colmap(tmp_path / "sparse/1", SOURCE, forms=("bin", "txt"))
    (tmp_path / "sparse/1/images.txt").write_text("# other\n")
    scene = read_scene(str(tmp_path))
    assert [view.id for view in scene.views] == SOURCE.names
    assert any("sparse/0" in note and "2 images" in note for note in scene.notes)
    assert any(".bin and as .txt" in note for note in scene.notes)


def test_points_are_the_models_own_and_its_own_folder_finds_its_images(tmp_path: Path) -> None:
    captures.write_colmap_scene(tmp_path, SOURCE)
    scene = read_scene(str(tmp_path))
    assert {tuple(row) for row in scene.points.tolist()} == {tuple(row) for row in SOURCE.points.tolist()}
    assert "points" in scene.notes[-1]
    assert len(read_scene(str(tmp_path / "sparse/0")).views) == len(SOURCE.c2w)
    assert read_scene(str(tmp_path / "sparse/0")).id == tmp_path.name


@pytest.mark.parametrize(
    ("model", "params", "is_bent"),
    [
        ("SIMPLE_PINHOLE", (70.0, 30.0, 26.0), False),
        ("SIMPLE_RADIAL", (70.0, 30.0, 26.0, 0.0), False),
        ("SIMPLE_RADIAL", (70.0, 30.0, 26.0, 0.05), True),
        ("OPENCV_FISHEYE", (70.0, 66.0, 30.0, 26.0, 0.0, 0.0, 0.0, 0.0), True),
        ("THIN_PRISM_FISHEYE", (70.0, 66.0, 30.0, 26.0) + (0.0,) * 8, True),
        ("FOV", (70.0, 66.0, 30.0, 26.0, 0.5), True),
    ],
)
def test_every_lens_is_undone_once(model: str, params: tuple[float, ...], is_bent: bool, tmp_path: Path) -> None:
    captures.write_colmap_scene(tmp_path, SOURCE, model=model, params=params)
    view = read_scene(str(tmp_path)).views[0]
    assert (view.source.distortion is not None) == is_bent
    frame = view.load()
    assert frame.is_valid.all() == (not is_bent) or frame.is_valid.float().mean() > 0.8


@pytest.mark.fault(25, "an image that a COLMAP model registers is missing")
def test_missing_images_drop_their_views(tmp_path: Path) -> None:
    captures.write_colmap_scene(tmp_path, SOURCE)
    (tmp_path / "images/001.png").unlink()
    scene = read_scene(str(tmp_path))
    assert [(view.id, view.reason) for view in scene.dropped] == [("001", "image")]


def test_masks_are_joined_by_name(tmp_path: Path) -> None:
    captures.write_colmap_scene(tmp_path, SOURCE)
    (tmp_path / "masks").mkdir()
    Image.new("L", (captures.WIDTH, captures.HEIGHT), 0).save(tmp_path / "masks/002.png.png")
    scene = read_scene(str(tmp_path))
    assert [bool(view.load().is_valid.all()) for view in scene.views] == [True, True, False, True]
    assert any("no mask" in note for note in scene.notes)
