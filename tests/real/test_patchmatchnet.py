"""The published network from our reading of the paper: its depth of a real room is near the sensor's."""

from dataclasses import replace

import pytest
import torch

from lift3d.bench.patchmatchnet import PatchmatchNet
from lift3d.bench.patchmatchnet_scene import PatchmatchNetGeometry
from lift3d.domain.camera import Camera
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.errors import ConfigError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform

pytestmark = pytest.mark.real


# Neighbours stand 5 to 11 degrees apart around the target's middle; ranges are of its sparse points, a tenth wider.
@pytest.mark.parametrize(
    ("target", "neighbours", "depth_range"),
    [
        (24, (57, 65, 7, 20, 28, 19), DepthRange(0.88, 3.43)),
        (36, (39, 34, 38, 40, 33), DepthRange(0.7, 3.35)),
        (48, (53, 36, 34, 35, 45, 54), DepthRange(1.1, 3.5)),
    ],
)
def test_depth_of_a_room_is_near_the_sensor(test_data, frame_of, target, neighbours, depth_range):
    """At 256×192: triangulated keypoints of full-size images are 1.4 to 2.1 % off here."""
    frame, *sources = (frame_of("kitchen", index) for index in (target, *neighbours))
    network = PatchmatchNet.load(test_data / "models/patchmatchnet/params_000007.ckpt")
    posed = [(one.camera, one.image) for one in sources]
    z, confidence = network.estimate(frame.camera, frame.image, posed, depth_range)
    is_known = torch.isfinite(frame.z_depth)
    error = ((z - frame.z_depth).abs() / frame.z_depth)[is_known]
    is_sure = confidence[is_known] > confidence[is_known].median()
    assert error.median() < 0.03
    assert error[is_sure].median() < error[~is_sure].median()
    # Another order of the sources, or a world of another scale, is the same problem.
    if target == 36:
        larger = [(_scaled(camera), image) for camera, image in reversed(posed)]
        again, _ = network.estimate(_scaled(frame.camera), frame.image, larger, DepthRange(7.0, 33.5))
        torch.testing.assert_close(again / 10, z, rtol=2e-3, atol=0)


def _scaled(camera: Camera) -> Camera:
    w2c = camera.w2c.clone()
    w2c[:3, 3] *= 10
    return replace(camera, w2c=w2c)


def test_a_view_alone_is_refused(frame_of):
    frame = frame_of("kitchen", 24)
    with pytest.raises(ConfigError, match="at least one source"):
        PatchmatchNet({}).estimate(frame.camera, frame.image, [], DepthRange(0.8, 3.5))


def test_neighbours_of_a_scene_come_from_its_sparse_points(test_data, frame_of):
    """A view that shares no point stays unknown, and depth that three neighbours confirm is good."""
    frames = {f"{index}": frame_of("kitchen", index) for index in (36, 39, 34, 38, 33, 90)}
    # Sparse points as the sensor tells them: every 24th pixel of one view, seen by all but the last.
    first = frames["36"]
    uv = cell_centers(8, 11, (24.0, 24.0))
    known = first.z_depth[12::24, 12::24]
    points = transform(first.camera.c2w, unproject(uv, known, first.camera.K).reshape(-1, 3).double())
    points = points[torch.isfinite(points).all(-1)]
    order = tuple(frames)
    pairs = torch.cartesian_prod(torch.arange(len(points)), torch.arange(len(order) - 1))
    tracks = Tracks(points, pairs[:, 0], pairs[:, 1], torch.zeros(len(pairs), 2), order)
    guides = [SourceGuide(name, one.camera, one.image, one.is_valid) for name, one in frames.items()]
    network = PatchmatchNet.load(test_data / "models/patchmatchnet/params_000007.ckpt")
    found = PatchmatchNetGeometry(network).estimate(guides, DepthRange(0.5, 5.0), lambda: tracks).views
    assert torch.isnan(found["90"].z_depth).all()
    error = (found["36"].z_depth - first.z_depth).abs() / first.z_depth
    assert error.isfinite().float().mean() > 0.1
    assert error.nanmedian() < 0.015
