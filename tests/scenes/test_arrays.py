"""A scene of arrays is the scene that they were taken from, and arrays that are none are told why."""

import numpy as np
import pytest
import torch

import lift3d
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.scenes.rotations import opencv_from_opengl

GIVEN = lift3d.read_scene("procedural:room?views=4&height=36&width=48")


def arrays():
    frames = [view.load() for view in GIVEN.views]
    return {
        "images": [(255 * frame.image.permute(1, 2, 0)).round().byte() for frame in frames],
        "K": [view.camera.K for view in GIVEN.views],
        "c2w": torch.stack([view.camera.c2w for view in GIVEN.views]),
        "depths": [frame.z_depth for frame in frames],
        "masks": [np.eye(36, 48) == 0 for _ in frames],
        "labels": [frame.labels.numpy() for frame in frames],
    }


def test_a_scene_of_arrays_shows_what_they_hold():
    made = lift3d.scene(**arrays(), is_metric=True)
    assert made.is_metric
    for view, own in zip(made.views, GIVEN.views, strict=True):
        frame, known = view.load(), own.load()
        assert torch.allclose(view.camera.w2c, own.camera.w2c)
        assert float((frame.image - known.image).abs().max()) <= 1 / 255
        assert torch.equal(frame.z_depth, known.z_depth)
        assert torch.equal(frame.labels, known.labels)
        assert int((~frame.is_valid).sum()) == 36
        assert view.load(18).image.shape == (3, 18, 24)
    digests = {view.source.content_digest() for view in made.views}
    assert len(digests) == 4
    assert digests == {view.source.content_digest() for view in lift3d.scene(**arrays()).views}


def test_axes_and_directions_of_poses_are_what_one_says():
    given = arrays()
    c2w = given.pop("c2w")
    w2c, opengl = torch.linalg.inv(c2w), opencv_from_opengl(c2w)
    for poses in ({"w2c": w2c}, {"c2w": opengl, "axes": "opengl"}, {"w2c": opengl.inverse(), "axes": "opengl"}):
        made = lift3d.scene(**given, **poses)
        assert torch.allclose(torch.stack([view.camera.c2w for view in made.views]), c2w, atol=1e-12)


def test_a_scene_of_arrays_is_lifted_and_read_as_a_sentence(tmp_path):
    lifted = lift3d.lift(lift3d.scene(**arrays()), "hog", image_height=36)
    assert lifted.image("0001").shape == (36, 48, 3)
    assert len(lifted.surface.views) == 4
    found = lifted.query(("0001", 10.0, 10.0))
    assert len(found.to_pandas()) > 0
    assert lifted._repr_html_().startswith('<figure><img alt="LiftedScene(&#x27;scene&#x27;')
    assert "points" in lifted.export(tmp_path / "cloud.ply", "ply")
    assert len(lifted.mesh().faces) > 50


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"location": "x"}, "a location, or arrays"),
        ({"c2w": None}, "images, K and one of c2w and w2c"),
        ({"c2w": torch.eye(4)[None]}, "4 images and 1 of c2w"),
        ({"axes": "blender"}, "expected opencv or opengl"),
        ({"images": [np.full((36, 48, 3), 255.0)] * 4}, "expected 0 to 1"),
        ({"images": [np.zeros((3, 36, 48))] * 4}, r"expected \(height, width, 3\)"),
        ({"masks": [np.ones((3, 4))] * 4}, r"masks\[0\] is float64 of shape \(3, 4\)"),
        ({"names": ["a"] * 3}, "3 of names"),
    ],
)
def test_what_is_no_scene_is_told_why(change, said):
    with pytest.raises(ConfigError, match=said):
        lift3d.scene(**{**arrays(), **change})


def test_poses_that_are_all_the_same_are_refused():
    with pytest.raises(SceneFormatError, match="same pose"):
        lift3d.scene(**{**arrays(), "c2w": torch.eye(4).repeat(4, 1, 1)})
