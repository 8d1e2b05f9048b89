"""Captures as the world has them: the line goes on with what is usable and says what is not."""

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lift3d.cli.run import exit_code, scene_line
from lift3d.results.lifted_scene import lifted_scenes
from tests.support.captures import HEIGHT, WIDTH, capture, texture, transforms, write_images, write_json
from tests.support.runs import ran

SMALL = {"operators": ["rgb"], "lifters": ["plane_sweep"]}
Spoil = Callable[[Path, list[dict[str, Any]]], None]


def write(folder: Path, spoil: Spoil | None = None, count: int = 4, **shared: Any) -> Path:
    source = capture(count)
    write_images(folder / "images", source.names)
    document = transforms(source, **shared)
    if spoil is not None:
        spoil(folder, document["frames"])
    write_json(folder / "transforms.json", document)
    return folder


def spoil_all_but_two(folder: Path, frames: list[dict[str, Any]]) -> None:
    frames[1]["transform_matrix"][0][3] = 1e300
    frames[2]["transform_matrix"][0][3] = 10**400
    del frames[3]["file_path"]
    frames[4]["file_path"] = "../../etc/passwd"
    (folder / "images/005.png").write_bytes(b"")
    whole = io.BytesIO()
    Image.fromarray(texture()).save(whole, "JPEG", quality=95)
    (folder / "images/006.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])


@pytest.mark.fault(24, "some frames: a pose at 1e300 or 10**400, no name, a name outside")
@pytest.mark.fault(26, "an empty file, and a JPEG under another name that is cut in the middle of its pixels, in a run")
def test_bad_views_are_dropped_with_a_reason_and_the_others_go_on(tmp_path):
    record, _ = ran(tmp_path, scenes=[str(write(tmp_path / "scene", spoil_all_but_two, count=8))], **SMALL)
    assert (record.outcome, record.view_count) == ("ok", 2)
    reasons = Counter(view.reason for view in record.dropped)
    assert reasons == {"camera": 2, "scene-format": 2, "image": 2}
    assert "6 views dropped, such as" in scene_line(record)


def all_black(folder: Path, frames: list[dict[str, Any]]) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(folder / "black.png")
    for frame in frames:
        frame["mask_path"] = "black.png"


def test_a_scene_that_fails_keeps_a_row_for_each_view_that_made_it_fail(tmp_path):
    record, rows = ran(tmp_path, scenes=[str(write(tmp_path / "scene", all_black))], **SMALL)
    assert record.outcome == "failed"
    assert "no valid pixel" in scene_line(record)
    assert (rows["metric"] == "usable_view").sum() == 4
    assert (rows["metric"] == "usable_scene").sum() == 1


@pytest.mark.fault(29, "all frames are unusable, or there are none")
@pytest.mark.parametrize("shared", [{"w": 10**400}, {"fl_x": 1e300}, {"fl_x": -5.0}, {"frames": []}])
def test_a_scene_without_a_usable_view_says_why(tmp_path, shared):
    record, _ = ran(tmp_path, scenes=[str(write(tmp_path / "scene", **shared))], **SMALL)
    assert record.outcome == "failed"
    assert "no usable view." in record.reason
    assert len(record.reason) < 400


@pytest.mark.fault(28, "a folder named in Chinese, with markup and formulas")
def test_names_are_no_markup_no_formula_and_in_any_script(tmp_path):
    record, _ = ran(tmp_path, scenes=[str(write(tmp_path / "漢字 [red] $\\x$ :x:"))], **SMALL)
    assert r"\[red]" in scene_line(record)
    assert lifted_scenes(str(tmp_path / "store"))[0].show()._repr_png_().startswith(b"\x89PNG")


def test_a_record_is_called_what_the_recipe_calls_the_scene(tmp_path, monkeypatch):
    write(tmp_path / "scene")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert ran(tmp_path, scenes=["scene"], **SMALL)[0].location == "scene"


def test_a_scene_that_no_lifter_could_run_on_is_not_lifted(tmp_path):
    scene = str(write(tmp_path / "scene"))
    record, _ = ran(tmp_path, scenes=[scene], operators=["tiny:depth"], lifters=["plane_sweep"])
    assert record.is_ok
    assert exit_code([record]) == 1
    assert "not-aligned" in scene_line(record)
