import shutil

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import lift3d
from lift3d.cli.app import app
from lift3d.domain.lifted import Prediction
from lift3d.errors import ConfigError, SceneError
from lift3d.results.colours import UNKNOWN_GREY
from lift3d.results.exports.write import export_lifted
from lift3d.results.opened import open_lifted
from lift3d.results.render.path import lift_along_path
from lift3d.results.render.video import CAPTION_HEIGHT, RenderExtent, render_video
from lift3d.results.render.video_file import write_video
from lift3d.runs.records import list_runs
from lift3d.storage.location import open_store
from tests.support.operators import CheckerOperator
from tests.support.runs import ROOM, canonical_arrays, run_into, small_recipe

# Panels of 48 rows are enlarged eight times.
HEIGHT, WIDTH = 384, 512


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        said = (stream.codec_context.name, stream.codec_context.pix_fmt, float(stream.average_rate))
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], said


def keys(url):
    return set(open_store(url).list("scenes"))


@pytest.mark.parametrize("color", [(200, 30, 60), (20, 180, 40), (30, 60, 220), (128, 128, 128), (255, 255, 255)])
def test_a_constant_picture_keeps_its_color(tmp_path, color):
    count, size = write_video(tmp_path / "a.mp4", (np.full((50, 70, 3), color, np.uint8) for _ in range(5)), 10)
    frames, said = decoded(tmp_path / "a.mp4")
    assert (count, size.height, size.width, len(frames)) == (5, 50, 70, 5)
    # A browser finds the index before the pictures.
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    assert said == ("h264", "yuv420p", 10.0)
    # Of 8 bits of brightness and chroma, 219 and 224 levels are used.
    assert max(np.abs(frame.astype(int) - color).max() for frame in frames) <= 3


def test_frames_come_back_in_order_and_odd_sizes_grow_by_a_pixel(tmp_path):
    ramp = np.linspace(40, 200, 97)[:, None, None] + np.linspace(-20, 20, 131)[None, :, None]
    given = [np.broadcast_to(ramp + 5 * step, (97, 131, 3)).astype(np.uint8) for step in range(7)]
    write_video(tmp_path / "a.mp4", given, 30)
    frames, _ = decoded(tmp_path / "a.mp4")
    assert [frame.shape for frame in frames] == [(98, 132, 3)] * 7
    for frame, wanted in zip(frames, given, strict=True):
        assert np.abs(frame[:97, :131].astype(int) - wanted).max() <= 4


def test_nothing_is_left_of_a_video_that_fails(tmp_path):
    def frames():
        yield np.zeros((16, 16, 3), np.uint8)
        raise SceneError("no more")

    with pytest.raises(SceneError, match="no more"):
        write_video(tmp_path / "a.mp4", frames(), 3)
    with pytest.raises(ConfigError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", [], 3)
    assert not list(tmp_path.iterdir())


def test_along_its_own_targets_the_plain_answer_stands_beside_the_lifted_one(shown_store, tmp_path):
    out = tmp_path / "new" / "a.mp4"
    ran = CliRunner().invoke(app, ["render", shown_store, str(out), "--operator", "rgb", "--frames", "0", "--fps", "6"])
    assert ran.exit_code == 0, ran.output
    assert f"video    {out}" in ran.output
    assert "6 frames of 412×1024, 1.0 s at 6 per second; 2D | lifted" in ran.output
    frames, said = decoded(out)
    lifted = open_lifted(shown_store, operator="rgb")
    assert len(frames) == 6
    assert (said[2], frames[0].shape) == (6.0, (CAPTION_HEIGHT + HEIGHT, 2 * WIDTH, 3))
    colours = lifted.colours
    for target, frame in zip(lifted.targets, frames, strict=True):
        for view, left in ((lifted.plain(target), 0), (lifted.view(target), WIDTH)):
            panel = frame[CAPTION_HEIGHT:, left : left + WIDTH].astype(float) / 255
            cells = panel.reshape(48, 8, 64, 8, 3).mean(axis=(1, 3))
            assert np.abs(cells - colours.picture(view.prediction)).mean() < 0.02
    # The two halves are told apart.
    assert np.abs(frames[2][:, :WIDTH].astype(int) - frames[2][:, WIDTH:]).mean() > 1


def test_along_a_path_it_is_what_a_run_with_that_path_lifts(shown_store, tmp_path):
    before, runs = keys(shown_store), list_runs(open_store(shown_store))
    rendered = render_video(open_lifted(shown_store, operator="hog"), tmp_path / "a.mp4", RenderExtent(5, 12))
    frames, _ = decoded(tmp_path / "a.mp4")
    assert (len(frames), rendered.panels, rendered.unseen_count) == (5, ("picture", "lifted"), 0)
    # Features come from the store; what is new is two parts.
    assert rendered.computed == "2 lifted products"
    assert not [key for key in keys(shown_store) - before if "/features/" in key]
    assert list_runs(open_store(shown_store)) == runs
    after = keys(shown_store)
    path = lift_along_path(open_lifted(shown_store, operator="hog"), 5)
    other = str(tmp_path / "other")
    records = run_into(other, small_recipe(targets="path:5", lifters=["anchored"], metrics=["coverage"]))
    arrays = canonical_arrays(other, records)
    assert canonical_arrays(shown_store, [path.answers.record]) == arrays
    again = render_video(open_lifted(shown_store, operator="hog"), tmp_path / "b.mp4", RenderExtent(5, 12))
    assert again.computed == "nothing, all was committed"
    assert keys(shown_store) == after
    # The pictures are the same; the encoder does not promise equal bits.
    repeated = decoded(tmp_path / "b.mp4")[0]
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, repeated, strict=True)) < 1


def test_a_value_has_one_color_in_all_views_and_holes_are_grey(shown_store):
    colors = open_lifted(shown_store, operator="rgb").colours
    rows = torch.linspace(0, 1, 8).repeat(4, 1)
    is_valid = torch.ones(4, 8, dtype=torch.bool)
    is_valid[0, 0] = False
    whole = colors.picture(Prediction("scalar", rows, is_valid))
    part = colors.picture(Prediction("scalar", rows[:, :4], is_valid[:, :4]))
    assert np.array_equal(whole[:, :4], part)
    assert np.array_equal(whole[0, 0], [UNKNOWN_GREY] * 3)
    labels = colors.picture(Prediction("labels", torch.tensor([[3, -1]]), torch.ones(1, 2, dtype=torch.bool)))
    assert np.array_equal(labels[0, 1], [UNKNOWN_GREY] * 3)
    assert not np.array_equal(labels[0, 0], labels[0, 1])
    # Features are drawn by directions that all views share.
    hog = open_lifted(shown_store, operator="hog")
    features = hog.view(hog.targets[0]).prediction.values
    whole = hog.colours.picture(Prediction("embedding", features, torch.ones(features.shape[1:], dtype=torch.bool)))
    assert np.array_equal(whole, hog.colours.pca.picture(features))


def refused_along_a_path_alone(store, folder, error, said, trusted=()):
    """What cannot be lifted along a path any more is shown where it was lifted."""
    with pytest.raises(error, match=said):
        render_video(open_lifted(store, plugins=trusted), folder / "refused.mp4", RenderExtent(3))
    assert not (folder / "refused.mp4").exists()
    assert render_video(open_lifted(store), folder / "shown.mp4", RenderExtent(0)).frame_count == 6


def test_an_operator_that_was_an_object_is_shown_where_it_was_lifted_and_nowhere_else(tmp_path):
    url = str(tmp_path / "store")
    lift3d.lift(ROOM, CheckerOperator(), "plane_sweep", store=url, image_height=48, sources=2, metrics=["coverage"])
    said = r"'checker:8\?stride=4' cannot be built again.*--frames 0"
    refused_along_a_path_alone(url, tmp_path, ConfigError, said)


def test_an_operator_that_has_changed_is_refused(tmp_path):
    url, folder = str(tmp_path / "store"), tmp_path / "answers"
    folder.mkdir()
    for view in lift3d.read_scene(ROOM).views:
        np.save(folder / f"{view.id}.npy", view.load(48).z_depth.numpy())
    operator = f"files:{folder}?pattern={{view}}.npy"
    run_into(url, small_recipe(operators=[operator], lifters=["anchored"], metrics=["coverage"]))
    assert render_video(open_lifted(url, plugins=[operator]), tmp_path / "a.mp4", RenderExtent(3)).frame_count == 3
    refused_along_a_path_alone(url, tmp_path, ConfigError, "--plugin")
    np.save(folder / "0000.npy", np.zeros((48, 64), np.float32))
    refused_along_a_path_alone(url, tmp_path, ConfigError, "not what it was", [operator])


def test_without_the_photographs_only_what_is_lifted_is_shown(shown_store, tmp_path):
    capture, store = tmp_path / "capture", str(tmp_path / "store")
    export_lifted(open_lifted(shown_store, operator="rgb"), capture, "nerfstudio")
    fields = {"operators": ["rgb"], "lifters": ["plane_sweep"], "metrics": ["coverage"]}
    run_into(store, small_recipe(scenes=[str(capture)], **fields))
    shutil.rmtree(capture)
    refused_along_a_path_alone(store, tmp_path, SceneError, r"photographs of 'capture'.*--frames 0")


@pytest.mark.parametrize("extent", [(1, 24), (-1, 24), (10**6, 24), (0, 0), (0, 10**4)])
def test_an_extent_that_cannot_be_is_refused(extent):
    with pytest.raises(ConfigError, match="expected"):
        RenderExtent(*extent)


@pytest.mark.parametrize("name", ["a.mkv", "a", "folder.mp4", "file/a.mp4"])
def test_a_name_that_cannot_be_written_is_refused(shown_store, tmp_path, name):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"takes no files|expected a file"):
        render_video(open_lifted(shown_store, operator="rgb"), tmp_path / name, RenderExtent(0))
