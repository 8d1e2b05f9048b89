"""Poses and depth that were written in another convention: found by what views show, said with what to do; never else.

Every layout goes round: a computed room is written into it, read again, and has the same cameras and depth.
"""

import dataclasses

import numpy as np
import pytest
import torch

from lift3d.bench.systems import layouts
from lift3d.domain.proposals import SourceGuide
from lift3d.errors import SceneFormatError
from lift3d.geometry.rigid import inverse
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.pose_conventions import CONVENTIONS, requaternioned
from lift3d.scenes.rotations import opencv_from_opengl
from lift3d.scenes.tracks import find_tracks
from lift3d.surface.catalog import build_geometry
from tests.support.captures import capture
from tests.support.surfaces import unasked_tracks

LOCATION = "procedural:room?views=8&height=48&width=64&spacing=1.5"
READ_AS = {
    "inverse": "as world-to-camera: invert them",
    "OpenGL": "with their y and z axes turned around",
    "scalar first": "with the scalar of their quaternions first: write it last",
    "unit x1000": r"Depth scaled by 0\.001 would fit",
    "unit x0.1": "Depth scaled by 10 would fit",
    "rays": "is the distance along the ray",
}


@pytest.fixture(scope="module")
def room():
    scene = read_scene(LOCATION)
    return scene, [view.load() for view in scene.views]


def surface_of(scene):
    frames = [view.load() for view in scene.views]
    guides = [
        SourceGuide(view.id, frame.camera, frame.image, frame.is_valid, z_depth=frame.z_depth)
        for view, frame in zip(scene.views, frames, strict=True)
    ]
    return build_geometry("sensor").estimate(guides, scene.depth_range, unasked_tracks)


@pytest.mark.parametrize("layout", layouts.WRITERS)
def test_a_room_goes_round_through_every_layout(layout, room, tmp_path):
    scene, frames = room
    layouts.WRITERS[layout](tmp_path / "room", layouts.taken(scene))
    found = read_scene(str(tmp_path / "room"))
    for view, own, frame in zip(found.views, scene.views, frames, strict=True):
        torch.testing.assert_close(view.camera.c2w, own.camera.c2w, rtol=0, atol=1e-6)
        torch.testing.assert_close(view.camera.K, own.camera.K, rtol=0, atol=1e-6)
        z_depth = view.load().z_depth
        torch.testing.assert_close(z_depth, frame.z_depth, rtol=0, atol=0.6 * layouts.UNITS[layout])
    assert surface_of(found).views


# Every one in every layout is measured by ``lift3d bench systems geometries``.
@pytest.mark.parametrize(
    ("layout", "fault"),
    [
        *(("TUM", "scalar first"), ("TUM", "unit x1000"), ("Replica", "inverse"), ("Replica", "unit x0.1")),
        *(("ScanNet", "OpenGL"), ("ScanNet", "rays"), ("nerfstudio", "OpenGL")),
    ],
)
def test_a_layout_in_another_convention_is_refused_with_what_would_fit(layout, fault, room, tmp_path):
    layouts.WRITERS[layout](tmp_path / "room", layouts.taken(room[0], fault))
    with pytest.raises(SceneFormatError, match=READ_AS[fault]):
        surface_of(read_scene(str(tmp_path / "room")))


def test_rereading_undoes_every_misreading():
    """What is read of poses that were written so is as it was if it is read as they were written."""
    c2w = torch.stack([torch.from_numpy(one) for one in capture(5).c2w])
    turned = inverse(requaternioned(inverse(c2w), [1, 2, 3, 0]))
    opengl, moved = opencv_from_opengl, requaternioned(c2w, [3, 0, 1, 2])
    moved_opengl, moved_inverse = (requaternioned(one(c2w), [3, 0, 1, 2]) for one in (opengl, inverse))
    flips = torch.diag_embed(1 - 2 * torch.eye(3, 4, dtype=torch.float64))
    mirrored = [flip @ c2w @ flip for flip in flips]
    read = [inverse(c2w), opengl(c2w), inverse(opengl(c2w)), *mirrored, moved, turned, moved_opengl, moved_inverse]
    for convention, one in zip(CONVENTIONS, read, strict=True):
        found = convention.reread(one)
        # In a world of its own, which is turned.
        relative = [inverse(own[:1]) @ own for own in (found, c2w)]
        torch.testing.assert_close(relative[0], relative[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("fault", ["inverse", "scalar first"])
def test_without_depth_photographs_tell_the_convention(fault):
    scene = read_scene("procedural:shelf?views=6&height=96&width=128&depth=0")
    read = layouts.POSE_FAULTS[fault](torch.stack([view.camera.c2w for view in scene.views]))
    # Views of computed scenes stay what they show, wherever cameras are said to be.
    views = [
        dataclasses.replace(view, camera=dataclasses.replace(view.camera, w2c=inverse(c2w)))
        for view, c2w in zip(scene.views, read, strict=True)
    ]
    with pytest.raises(SceneFormatError, match=f"do not fit their poses.*{READ_AS[fault]}"):
        find_tracks(dataclasses.replace(scene, views=tuple(views)))


@pytest.mark.parametrize("family", ["tabletop", "forest"])
def test_right_poses_and_depth_are_never_blamed(family):
    scene = read_scene(f"procedural:{family}?views=8&height=48&width=64")
    noise = np.random.default_rng(0).normal(1.0, 0.01, (8, 48, 64))
    found = surface_of(scene)
    frames = [view.load() for view in scene.views]
    guides = [
        SourceGuide(
            view.id, frame.camera, frame.image, frame.is_valid, z_depth=frame.z_depth * torch.tensor(one).float()
        )
        for view, frame, one in zip(scene.views, frames, noise, strict=True)
    ]
    noisy = build_geometry("sensor").estimate(guides, scene.depth_range, unasked_tracks)
    assert [*noisy.views] == [*found.views]
