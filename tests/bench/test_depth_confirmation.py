"""Depth that neighbours confirm, on a wall whose depth is known."""

import torch

from lift3d.bench.depth_confirmation import Posed, confirmed
from lift3d.domain.camera import Camera, ImageSize

SIZE = ImageSize(24, 32)


def view_of_wall(x: float, z: float = 2.0) -> Posed:
    """A camera shifted along a wall that is 2 units away, and the depth it believes in."""
    K = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]])
    w2c = torch.eye(4)
    w2c[0, 3] = -x
    return Camera(K, w2c, SIZE), torch.full((SIZE.height, SIZE.width), z)


def test_depth_that_three_confirm_stays_and_the_rest_goes():
    camera, z = view_of_wall(0.0)
    z[5, 5] = 1.8
    z[6, 20] = torch.nan
    found = confirmed((camera, z), [view_of_wall(x) for x in (-0.3, -0.1, 0.1, 0.3)])
    middle = found[:, 5:-5]
    assert torch.isnan(found[5, 5])
    assert torch.isnan(found[6, 20])
    assert torch.isnan(middle).sum() == 2
    torch.testing.assert_close(middle[torch.isfinite(middle)], torch.full((24 * 22 - 2,), 2.0))
    # At the left edge only the two on the left look.
    assert torch.isnan(found[:, 0]).all()


def test_depths_are_averaged_and_disagreement_does_not_count():
    own = view_of_wall(0.0)
    near = [view_of_wall(x, 2.01) for x in (-0.1, 0.1, 0.2)]
    far = [view_of_wall(x, 2.2) for x in (-0.2, 0.3)]
    torch.testing.assert_close(confirmed(own, near + far)[12, 16], torch.tensor(2.0 + 0.01 * 3 / 4), rtol=1e-5, atol=0)
    assert torch.isnan(confirmed(own, near[:2] + far)).all()
