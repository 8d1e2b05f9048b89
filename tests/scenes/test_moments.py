"""Moments of a rig: what moves is masked at other moments, what stands still is shared; what is no rig is refused."""

import re

import pytest
import torch

from lift3d.errors import ConfigError, SceneFormatError
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.moments import cameras_of
from lift3d.synthetic.reader import ProceduralFrame, ProceduralSpec

_RIG = "procedural:room?seed=3&views=3&times=5&height=48&width=64&spacing=4"


def test_a_moment_has_its_own_views_whole_and_of_others_what_stands_still():
    scene, rig = read_scene(f"moment:2:{_RIG}"), read_scene(_RIG)
    assert [view.id for view in scene.views][::5] == ["0002", "0007", "0012"]
    assert {view.id for view in scene.views} == {view.id for view in rig.views}
    still = {camera.views[0].id: camera for camera in cameras_of(rig)}
    assert len(still) == 3
    hidden = 0
    for view in scene.views:
        own, frame = rig.view(view.id).load(), view.load()
        assert torch.equal(own.image, frame.image)
        if int(view.id) % 5 == 2:
            assert frame.is_valid.all()
            continue
        # The thing is nearer than all else: where it stands is where depth is not what it is most of the time.
        first = int(view.id) // 5 * 5
        depths = torch.stack([rig.view(f"{first + time:04d}").load().z_depth for time in range(5)])
        is_there = own.z_depth < 0.99 * depths.median(0).values
        hidden += int(is_there.sum())
        assert not frame.is_valid[is_there].any()
        # Nor does another moment look through what is there at this one.
        now = rig.view(f"{first + 2:04d}").load().z_depth < 0.99 * depths.median(0).values
        assert not frame.is_valid[now].any()
        assert frame.is_valid[~is_there & ~now].float().mean() > 0.8
    assert hidden > 200


def test_moments_are_told_apart_and_what_there_was_keeps_its_digest():
    one, other = (read_scene(f"moment:{number}:{_RIG}") for number in (0, 1))
    assert one.id != other.id
    assert one.view("0003").source.content_digest() != other.view("0003").source.content_digest()
    assert one.view("0000").source.content_digest() != other.view("0000").source.content_digest()
    plain, timed = (ProceduralFrame(ProceduralSpec("room", times=times), 0) for times in (1, 2))
    assert plain.content_digest() == ProceduralFrame(ProceduralSpec("room"), 0).content_digest()
    assert plain.content_digest() != timed.content_digest()


@pytest.mark.parametrize(
    ("location", "error", "said"),
    [
        ("moment:procedural:room", ConfigError, "names no moment of a scene; expected moment:0:LOCATION"),
        ("moment:5:" + _RIG, ConfigError, "has 5 moments, 0 to 4; got 5"),
        ("moment:0:procedural:room?views=6", SceneFormatError, "6 cameras have 1 to 1 views"),
        ("moment:0:procedural:room?views=4&times=2", SceneFormatError, "expected as many of each, 3 at least"),
    ],
)
def test_what_is_no_moment_is_said(location, error, said):
    with pytest.raises(error, match=re.escape(said)):
        read_scene(location)
