import dataclasses
from functools import partial

import pytest
import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import Tracks
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rigid import transform
from lift3d.operators.depth_alignment import alignment_of, fit_depth
from tests.support.operators import TrueDepth
from tests.support.scenes import some_motion, textured_plane_scene

COUNT = 60
GRID = FeatureGrid(48, 64, 1.0, 1.0)


def tracked(frames, seed=0, left_out=()):
    """Points of the first view's surface, seen without error by every view that has them on its image."""
    first = frames[min(frames)]
    draw = torch.Generator().manual_seed(seed)
    uv = torch.rand(COUNT, 2, generator=draw).double() * torch.tensor([62.0, 46.0]).double() + 1
    z = first.z_depth[uv[:, 1].long(), uv[:, 0].long()].double()
    points = transform(first.camera.c2w, unproject(uv.floor() + 0.5, z, first.camera.K))
    observations = []
    for number, name in enumerate(sorted(frames)):
        camera = frames[name].camera
        at = transform(camera.w2c, points) @ camera.K.T
        at = at[:, :2] / at[:, 2:]
        is_on = (at > 1).all(1) & (at < torch.tensor([63.0, 47.0])).all(1) & (name not in left_out)
        index = torch.nonzero(is_on)[:, 0]
        observations.append((index, torch.full_like(index, number), at[is_on]))
    point, view, seen = (torch.cat(part) for part in zip(*observations, strict=True))
    return Tracks(points, point, view, seen, tuple(sorted(frames)))


def views_of(frames, tracks):
    return SceneViews({name: frame.camera for name, frame in frames.items()}, lambda: tracks)


@pytest.fixture(scope="module")
def frames():
    return {view.id: view.load() for view in textured_plane_scene(5, slant=0.4).views}


def encoded(operator, frames):
    return {name: operator.encode(frame.image) for name, frame in frames.items()}


def fitted(frames, tracks=None, quantity="disparity"):
    maps = encoded(TrueDepth(frames, quantity), frames)
    return fit_depth(maps, views_of(frames, tracked(frames) if tracks is None else tracks), quantity)


def assert_is(found, pair):
    assert (found.scale, found.shift) == (pytest.approx(pair[0], rel=2e-3), pytest.approx(pair[1], abs=5e-3))


@pytest.mark.parametrize("quantity", ["depth", "disparity"])
def test_each_view_gets_its_own_pair_back_and_others_the_middle_one(frames, quantity):
    operator, state = TrueDepth(frames, quantity), fitted(frames, quantity=quantity)
    for number, name in enumerate(sorted(frames)):
        assert_is(alignment_of(state, name), operator.pair(number))
    scales = sorted(alignment_of(state, name).scale for name in frames)
    assert alignment_of(state, "another").scale == pytest.approx(scales[2])


def test_a_view_that_sees_too_few_points_takes_the_pair_of_the_scene(frames):
    lonely = min(frames)
    state = fitted(frames, tracked(frames, left_out=(lonely,)))
    assert alignment_of(state, lonely) == alignment_of(state, "another")
    assert alignment_of(state, max(frames)) != alignment_of(state, "another")


def test_the_order_of_views_and_points_does_not_matter_in_any_bit(frames):
    operator, tracks = TrueDepth(frames), tracked(frames)
    order = torch.randperm(len(tracks.view_index), generator=torch.Generator().manual_seed(0))
    mixed = dataclasses.replace(
        tracks,
        point_index=tracks.point_index[order],
        view_index=4 - tracks.view_index[order],
        uv=tracks.uv[order],
        view_ids=tracks.view_ids[::-1],
    )
    maps = encoded(operator, frames)
    one = fit_depth(maps, views_of(frames, tracks), "disparity").arrays
    other = fit_depth(dict(reversed(maps.items())), views_of(frames, mixed), "disparity").arrays
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def in_units_of(size, camera, points):
    w2c = camera.w2c.clone()
    w2c[:3, 3] *= size
    return dataclasses.replace(camera, w2c=w2c), size * points


def moved(camera, points):
    w2c = camera.w2c @ torch.linalg.inv(some_motion())
    return dataclasses.replace(camera, w2c=w2c), transform(some_motion(), points)


@pytest.mark.parametrize(
    ("change", "unit"), [(partial(in_units_of, 0.01), 0.01), (partial(in_units_of, 100.0), 100.0), (moved, 1.0)]
)
def test_the_unit_of_the_world_is_the_unit_of_the_answer_and_its_axes_do_not_matter(frames, change, unit):
    maps, tracks = encoded(TrueDepth(frames), frames), tracked(frames)
    views = SceneViews(
        {name: change(frame.camera, tracks.points)[0] for name, frame in frames.items()},
        lambda: dataclasses.replace(tracks, points=change(frames["0000"].camera, tracks.points)[1]),
    )
    plain, other = (fit_depth(maps, one, "disparity") for one in (views_of(frames, tracks), views))
    for name in frames:
        z, z_other = (alignment_of(state, name).z_depth(maps[name][0].values, "disparity") for state in (plain, other))
        torch.testing.assert_close(z_other, unit * z)


def test_what_cannot_be_is_bounded(frames):
    """A disparity of 0 is far away, one that is huge is near; neither is infinite."""
    z = alignment_of(fitted(frames), "0001").z_depth(torch.tensor([-1e6, 0.0, 1e6]), "disparity")
    assert bool(torch.isfinite(z).all())
    assert float(z[0]) > 4 > 1 > float(z[2]) > 0


def test_nothing_is_fitted_without_points_or_variety_and_what_is_no_depth_is_refused(frames):
    maps = encoded(TrueDepth(frames), frames)
    assert fit_depth(maps, SceneViews.of({}), "disparity").is_empty
    flat = {name: (FeatureMap(torch.ones(1, 48, 64), GRID),) for name in frames}
    assert fit_depth(flat, views_of(frames, tracked(frames)), "disparity").is_empty
    assert alignment_of(fit_depth(maps, SceneViews.of({}), "disparity"), "0000") is None
    two = {name: (FeatureMap(torch.ones(2, 48, 64), GRID),) for name in frames}
    with pytest.raises(ContractError, match="one channel"):
        fit_depth(two, views_of(frames, tracked(frames)), "depth")
    with pytest.raises(ContractError, match="direction"):
        fit_depth(two, views_of(frames, tracked(frames)), "direction")


def test_noise_that_has_nothing_to_do_with_depth_is_not_taken_for_it(frames):
    draw = torch.Generator().manual_seed(3)
    noise = {name: (FeatureMap(torch.rand(1, 48, 64, generator=draw), GRID),) for name in frames}
    state = fit_depth(noise, views_of(frames, tracked(frames)), "disparity")
    assert sum(f"depth_alignment:{name}" in state.arrays for name in frames) in (0, len(frames))
    assert len({alignment_of(state, name) for name in frames}) <= 2
