"""Views that can show nothing of what a camera sees are not asked, and nothing comes out otherwise for that."""

import dataclasses
import math

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.geometry.projection import is_inside, project, unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import look_at, transform
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import ballots
from lift3d.surface.culling import corners_of, may_lie_inside
from lift3d.surface.keyframes import keyframes
from lift3d.surface.light import light_weights
from lift3d.surface.scene_surface import VIEWS_AT_ONCE, SceneSurface
from lift3d.synthetic.families import build_world
from lift3d.synthetic.tracing import cast

SIZE = ImageSize(18, 24)
K = torch.tensor([[20.0, 0, 12], [0, 20, 9], [0, 0, 1]], dtype=torch.float64)
VIEWS = 4 * VIEWS_AT_ONCE + 3


def camera_at(turn: float) -> Camera:
    """On a small circle amid the room, looking out of it: those on either side have nothing in common."""
    angle = 2 * math.pi * turn
    center = torch.tensor([0.4 * math.cos(angle), 0.4 * math.sin(angle), 1.5], dtype=torch.float64)
    ahead = torch.tensor([math.cos(angle), math.sin(angle), -0.1], dtype=torch.float64)
    return Camera(K, look_at(center, center + ahead), SIZE)


@pytest.fixture(scope="module")
def surface():
    """A room from cameras that look out of its middle all around; each misses some of it, and errs on some."""
    chance = torch.Generator().manual_seed(0)
    world, grid = build_world("room", 0), FeatureGrid.covering(SIZE, 1.0)
    views = {}
    for number in range(VIEWS):
        camera = camera_at(number / VIEWS)
        z_depth = cast(world, camera).z_depth.float() * (1 + 0.02 * torch.randn(grid.shape, generator=chance))
        z_depth[torch.rand(grid.shape, generator=chance) < 0.05] = torch.nan
        z_depth[torch.rand(grid.shape, generator=chance) < 0.01] = torch.inf
        z_depth[:, :4] = torch.where(torch.rand((), generator=chance) < 0.3, torch.nan, z_depth[:, :4])
        confidence = torch.where(torch.isnan(z_depth), 0.0, torch.rand(grid.shape, generator=chance))
        views[f"{number:03}"] = ViewGeometry(camera, grid, z_depth, confidence)
    found = SceneSurface.of(SceneGeometry("sensor", views))
    return SceneSurface(found.method, found.views, keyframes(found))


def answers(surface):
    """All that targets, between the views and of them, read of the surface, of which not all may answer."""
    grid = FeatureGrid.covering(SIZE, 1.0)
    for turn in (0.2, 20.5, 33.0, 47.3, 66.6):
        may_answer = surface.ids[:: 1 + round(turn) % 2]
        target = Anchored().anchor(surface, camera_at(turn / VIEWS), may_answer, 5)
        fields = (getattr(target, one.name) for one in dataclasses.fields(target))
        yield from (one for one in fields if isinstance(one, torch.Tensor))
        yield target.depth.z_depth
        for weights in (light_weights(target, grid), ballots(target, grid, 5)):
            yield from (weights.source, weights.uv, weights.weight, weights.coverage)
    yield torch.tensor(keyframes(surface))


def test_no_bit_changes_when_views_that_show_nothing_are_not_asked(surface, monkeypatch):
    shares = []

    def counted(*arguments, **options):
        asked = own(*arguments, **options)
        shares.append(len(asked.views) / asked.count)
        return asked

    own = SceneSurface.asked
    monkeypatch.setattr(SceneSurface, "asked", counted)
    found = [*answers(surface)]
    assert sum(shares) < 0.7 * len(shares)
    monkeypatch.setattr(SceneSurface, "_is_one_block", True)
    for one, other in zip(found, answers(surface), strict=True):
        assert torch.equal(one.nan_to_num(-1.0), other.nan_to_num(-1.0))


def test_what_falls_on_an_image_is_never_outside_and_what_lies_behind_or_beside_it_is(surface):
    chance = torch.Generator().manual_seed(1)
    camera, low, high = camera_at(0.0), torch.zeros(2), torch.tensor([24.0, 18.0])
    near, far = torch.tensor(0.5), torch.tensor(4.0)
    may_lie = may_lie_inside(
        corners_of(low, high, near, far)[None],
        *surface.maps_of(camera),
        low[None],
        high[None],
        torch.full((1,), torch.inf),
    )
    uv = cell_centers(SIZE.height, SIZE.width).reshape(-1, 2).double()
    z_depth = 0.5 + 3.5 * torch.rand(len(uv), generator=chance, dtype=torch.float64)
    points = transform(camera.c2w, unproject(uv, z_depth, K))
    falls = []
    for view in surface.views:
        at, is_in_front = project(transform(view.camera.w2c, points), K)
        falls.append(bool((is_in_front & is_inside(at, SIZE.height, SIZE.width)).any()))
    assert not any(fall and not may for fall, may in zip(falls, may_lie.tolist(), strict=True))
    # Nearly all of those on which nothing falls are told.
    assert int(may_lie.sum()) <= sum(falls) + 6
    assert not may_lie[VIEWS // 2]
