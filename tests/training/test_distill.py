"""A field distilled from features of a surface, and the surer of both branches: exact cases, the same bits again."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lift3d.domain.features import FeatureMap
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import ConfigError, NonFiniteError, NoOverlapError, SceneError
from lift3d.geometry.rigid import transform
from lift3d.surface.cloud import SurfacePoints, surface_points
from lift3d.surface.fused import fused_at
from lift3d.surface.scene_surface import SceneSurface
from lift3d.surface.shape import shape_inputs, upward
from lift3d.training.distill import field
from lift3d.training.distill.ensemble import ensemble, surer
from lift3d.training.distill.field import DistilSettings, distilled
from lift3d.training.distill.scene import distil_scene
from tests.support.lifting import pixels, same_bits
from tests.support.runs import ROOM, small_recipe
from tests.support.scenes import some_motion, two_planes_scene

QUICK = DistilSettings(width=32, steps=40, batch=128)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_seed_gives_the_same_bits_and_leaves_the_global_generator_alone():
    inputs, fused = numbers(200, 5), numbers(200, 8, seed=1)
    before = torch.get_rng_state()
    first, again = (distilled(inputs, fused, QUICK) for _ in range(2))
    same_bits(first, again)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.norm(dim=1) == pytest.approx(torch.ones(200), abs=1e-5)
    assert not torch.equal(first, distilled(inputs, fused, replace(QUICK, seed=1)))


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    inputs, fused = numbers(200, 5), numbers(200, 8, seed=1)
    whole, learn, steps = distilled(inputs, fused, QUICK), field._loss, iter(range(25))

    def stopping(network, batch):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return learn(network, batch)

    monkeypatch.setattr(field, "_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        distilled(inputs, fused, QUICK, tmp_path)
    monkeypatch.setattr(field, "_loss", learn)
    same_bits(distilled(inputs, fused, QUICK, tmp_path), whole)
    with pytest.raises(ConfigError, match="learned_from"):
        distilled(inputs, fused + 1, QUICK, tmp_path)


def test_constant_features_stay_constant():
    fused = F.normalize(torch.arange(1.0, 9), dim=0).expand(200, 8)
    told = distilled(numbers(200, 5), fused, replace(QUICK, steps=600))
    assert float((told * fused).sum(1).mean()) > 1 - 1e-3
    assert told.std(0) == pytest.approx(torch.zeros(8), abs=0.02)


def test_what_geometry_tells_is_kept_and_the_noise_of_points_is_not():
    inputs = numbers(2000, 3)
    clean = F.normalize(torch.stack([torch.sin(inputs[:, 0]), torch.cos(inputs[:, 0])], 1), dim=1)
    clean = F.pad(clean, (0, 6))
    noisy = F.normalize(clean + 0.3 * numbers(2000, 8, seed=1), dim=1)
    told = distilled(inputs, noisy, replace(QUICK, steps=300, batch=512))
    assert float((1 - (told * clean).sum(1)).mean()) < 0.2 * float((1 - (noisy * clean).sum(1)).mean())


def test_what_cannot_be_learned_from_is_refused():
    inputs, fused = numbers(200, 5), numbers(200, 8)
    with pytest.raises(SceneError, match=r"63 points .* 64 at least"):
        distilled(inputs[:63], fused[:63], QUICK)
    with pytest.raises(NonFiniteError, match="features"):
        distilled(inputs, fused.index_fill(0, torch.tensor([7]), torch.nan), QUICK)
    with pytest.raises(NonFiniteError, match="Lower the learning rate"):
        distilled(inputs, fused, replace(QUICK, rate=1e30))


def test_the_surer_branch_of_each_point_is_believed_and_the_fused_one_where_both_are_even():
    fused = torch.tensor([[0.9, 0.1], [0.6, 0.5], [0.5, 0.2], [0.3, 0.8]])
    other = torch.tensor([[0.2, 0.8], [0.1, 0.7], [0.2, 0.5], [0.9, 0.85]])
    assert surer(fused, other).tolist() == [False, True, False, True]
    assert torch.equal(ensemble(fused, other), torch.stack([fused[0], other[1], fused[2], other[3]]))
    with pytest.raises(ConfigError, match="two classes at least, got 1"):
        surer(fused[:, :1], other[:, :1])


@pytest.fixture(scope="module")
def planes():
    views = {}
    for view in two_planes_scene().views:
        frame = view.load()
        is_known = torch.isfinite(frame.z_depth).float()
        views[view.id] = ViewGeometry(frame.camera, pixels(frame.camera), frame.z_depth, is_known)
    return SceneSurface.of(SceneGeometry("sensor", views))


def test_what_views_say_of_a_place_is_fused_there_and_places_that_none_shows_have_nothing(planes):
    points = surface_points(planes, 2000)

    def disparity(name):
        view = planes.views[planes.ids.index(name)]
        return FeatureMap(1 / view.z_depth[None], view.grid)

    beside = torch.cat([points.xyz, torch.tensor([[0.0, 0, -50]])])
    found, weight = fused_at(planes, beside, disparity)
    off = (found[:-1, 0] * points.xyz[:, 2] - 1).abs()
    assert float(off.median()) < 1e-3
    assert float(weight[:-1].min()) > 0
    assert (float(weight[-1]), float(found[-1, 0])) == (0, 0)


def test_shape_knows_floors_and_nothing_of_the_frame_or_unit_of_the_world(planes):
    drawn = torch.Generator().manual_seed(0)
    floor = F.pad(20 * torch.rand(400, 2, generator=drawn), (0, 1)).double()
    wall = F.pad(20 * torch.rand(400, 2, generator=drawn), (1, 0)).double()
    facing = torch.tensor([[0.0, 0, 1], [1, 0, 0]]).double().repeat_interleave(400, 0)
    points = SurfacePoints(torch.cat([floor, wall]), facing, 1.0, 800)
    up, rgb = torch.tensor([0.0, 0, 1]).double(), torch.rand(800, 3, generator=drawn)
    found = shape_inputs(points, rgb, up)
    assert torch.equal(found[:400, :3], torch.tensor([[0.0, 1, 1]]).expand(400, 3))
    assert torch.equal(found[400:, 1], torch.zeros(400))
    # Far from the wall, neighbourhoods are flat.
    assert float(found[:400, 6][floor[:, 0] > 10].max()) < 1e-6
    motion = some_motion()
    moved = SurfacePoints(transform(motion, 3 * points.xyz), facing @ motion[:3, :3].T, 3.0, 800)
    again = shape_inputs(moved, rgb, motion[:3, :3] @ up)
    assert again == pytest.approx(found, abs=1e-5)
    assert float(upward(planes, surface_points(planes, 500).normals).norm()) == pytest.approx(1)


def test_a_scene_is_distilled_by_one_call_and_what_depends_on_the_view_is_refused(tmp_path):
    recipe = small_recipe(scenes=[ROOM], operators=["tiny:encoder"])
    found = distil_scene(recipe, str(tmp_path), QUICK)
    assert found.fused.shape == found.distilled.shape == (len(found.points.xyz), 96)
    index, weight = found.near(found.points.xyz[:5])
    assert index[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert weight.sum(1) == pytest.approx(torch.ones(5))
    assert float((found.fused * found.distilled).sum(1).mean()) > 0
    with pytest.raises(ConfigError, match="cannot be distilled: it gives color"):
        distil_scene(small_recipe(scenes=[ROOM], operators=["rgb"]), str(tmp_path), QUICK)
    with pytest.raises(NoOverlapError):
        distil_scene(
            small_recipe(scenes=[f"{ROOM.replace('views=6', 'views=1')}&depth=0"], operators=["hog"]),
            str(tmp_path),
            QUICK,
        )
