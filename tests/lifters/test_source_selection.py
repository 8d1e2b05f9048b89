"""Planning of sources: nearest first, the same in every frame of reference, continuous."""

import itertools

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import DepthRange
from lift3d.errors import NoOverlapError
from lift3d.lifters.source_selection import Candidates, select_sources, view_costs
from tests.support.scenes import pinhole, some_motion

RANGE = DepthRange(1.0, 6.0)


def at(x=0.0, yaw=0.0, z=0.0):
    cosine, sine = torch.cos(torch.tensor(yaw)).double(), torch.sin(torch.tensor(yaw)).double()
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[0, 0], w2c[0, 2], w2c[2, 0], w2c[2, 2] = cosine, -sine, sine, cosine
    w2c[:3, 3] = -w2c[:3, :3] @ torch.tensor([x, 0.0, z], dtype=torch.float64)
    return pinhole(ImageSize(48, 64), w2c)


CANDIDATES = [(f"v{index:02d}", at(x=0.17 * (index - 6), yaw=0.03 * (index % 3))) for index in range(13)]


def test_nearest_first_and_as_many_as_asked():
    chosen = select_sources(at(0.02), CANDIDATES, 5, RANGE)
    assert len(chosen) == 5
    assert {view for view, _ in chosen} <= {f"v{index:02d}" for index in range(3, 10)}
    costs = view_costs(at(0.02), [dict(CANDIDATES)[view] for view, _ in chosen], RANGE)
    assert torch.equal(costs, costs.sort().values)
    assert float(view_costs(at(0.3), [at(0.3)], RANGE)) == pytest.approx(0, abs=1e-6)


def test_a_view_of_something_else_comes_last():
    turned = ("turned", at(0.0, yaw=3.1))
    ranked = [view for view, _ in select_sources(at(), [turned, *CANDIDATES], 14, RANGE)]
    assert ranked[-1] == "turned"
    beside = ("beside", at(0.0, yaw=1.2))
    assert select_sources(at(), [beside, ("shifted", at(0.5))], 1, RANGE)[0][0] == "shifted"


def test_the_order_of_candidates_is_irrelevant():
    expected = select_sources(at(0.05), CANDIDATES, 6, RANGE)
    assert select_sources(at(0.05), CANDIDATES[::-1], 6, RANGE) == expected
    twins = [("b", at(0.2)), ("a", at(0.2)), ("c", at(0.2))]
    assert [view for view, _ in select_sources(at(), twins, 2, RANGE)] == ["a", "b"]


@pytest.mark.parametrize("scale", [1.0, 0.01, 250.0])
def test_rigid_motion_and_scale_are_irrelevant(scale):
    motion = torch.linalg.inv(some_motion())

    def moved(camera):
        w2c = camera.w2c @ motion
        w2c[:3, 3] *= scale
        return Camera(camera.K, w2c, camera.size)

    expected = select_sources(at(0.05), CANDIDATES, 6, RANGE)
    scaled_range = DepthRange(scale * RANGE.near, scale * RANGE.far)
    got = select_sources(moved(at(0.05)), [(view, moved(camera)) for view, camera in CANDIDATES], 6, scaled_range)
    assert [view for view, _ in got] == [view for view, _ in expected]
    assert [taper for _, taper in got] == pytest.approx([taper for _, taper in expected], abs=1e-6)


def test_tapers_are_continuous_along_a_path():
    def tapers(x):
        chosen = dict(select_sources(at(x), CANDIDATES, 4, RANGE))
        return torch.tensor([chosen.get(view, 0.0) for view, _ in CANDIDATES])

    path = torch.linspace(-0.2, 0.2, 100).tolist()
    weights = [tapers(x) for x in path]
    shares = [weight / weight.sum() for weight in weights]
    steps = [float((after - before).abs().max()) for before, after in itertools.pairwise(shares)]
    assert len({tuple((weight > 0).tolist()) for weight in weights}) > 3
    assert max(steps) < 0.06


def test_tapers_are_positive_and_one_when_nothing_is_left_out():
    tapers = [taper for _, taper in select_sources(at(), CANDIDATES, 6, RANGE)]
    assert all(0 < taper <= 1 for taper in tapers)
    assert max(tapers) == 1
    assert [taper for _, taper in select_sources(at(), CANDIDATES, 13, RANGE)] == [1.0] * 13


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(NoOverlapError, match="candidate"):
        select_sources(at(), [], 4, RANGE)


def test_of_many_candidates_those_near_are_enough():
    spread = torch.linspace(0, 1, 400).tolist()
    views = [(f"v{place:03d}", at(40 * x, yaw=0.03 * (place % 3))) for place, x in enumerate(spread)]
    near = Candidates(views).near(at(15.3), 6, RANGE, left_out=153)
    expected = select_sources(at(15.3), views[:153] + views[154:], 6, RANGE)
    assert select_sources(at(15.3), near, 6, RANGE) == expected
    assert len(near) < 200
