import pytest
import torch

from lift3d.geometry.sampling import sample
from lift3d.metrics.correspondence import LONG_RANGE_DEG, SHORT_RANGE_DEG, correspond
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.scenes.catalog import read_scene


@pytest.mark.real
def test_photographs_of_a_real_room_agree_best_exactly_where_the_geometry_says(test_data):
    """A half-pixel slip anywhere (cameras, depth registration, matching) would move the minimum."""
    frames = [view.load(192) for view in read_scene(str(test_data / "captures" / "kitchen")).views[::8]]
    found = correspond(DepthSurface(frames))
    short = {pair: one for pair, one in found.matches.items() if one.angle_deg < SHORT_RANGE_DEG[1]}
    assert len(short) >= 5
    assert any(one.angle_deg >= LONG_RANGE_DEG[0] for one in found.matches.values())

    def error(du, dv):
        shift = torch.tensor([du, dv])
        losses = [
            (sample(frames[a].image, one.uv_a.float()) - sample(frames[b].image, one.uv_b.float() + shift)).square()
            for (a, b), one in short.items()
        ]
        return float(torch.stack([loss.mean().sqrt() for loss in losses]).mean())

    here = error(0.0, 0.0)
    assert all(error(*aside) > here for aside in ((2.0, 0.0), (-2.0, 0.0), (0.0, 2.0), (0.0, -2.0)))
    floor = torch.cat([(one.uv_b - one.uv_b_floor).norm(dim=-1) for one in short.values()])
    assert floor.median() < 0.5
