"""Directions (surface normals) of two views against each other, in world axes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.scores import Score
from lift3d.metrics.correspondence import LONG_RANGE_DEG, SHORT_RANGE_DEG
from lift3d.metrics.counting import Corners, counted_cells, embedding_grid
from lift3d.metrics.figures import pair_metric, undefined
from lift3d.metrics.protocol import Matches, ViewEvidence

# The angle between a direction and none: as far off as a guess at random is on average.
_NO_ANSWER_DEG = 90.0


@pair_metric("lower", SHORT_RANGE_DEG, kinds=("embedding",), quantities=("direction",))
def direction_cross_short(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """Mean angle in degrees between what two views say of a point, both in world axes, under 15° apart."""
    return _cross_view(a, b, matches)


@pair_metric("lower", LONG_RANGE_DEG, kinds=("embedding",), quantities=("direction",))
def direction_cross_long(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """As direction_cross_short, at long range: baseline angles from 15° to 45°."""
    return _cross_view(a, b, matches)


def _cross_view(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    (corners_a, counts_a), (corners_b, counts_b) = _places(a, matches.uv_a), _places(b, matches.uv_b)
    counts = counts_a & counts_b
    if not bool(counts.any()):
        return undefined("no-points", "no matched point counts in both views")
    one, other = _in_world(a, corners_a.only(counts)), _in_world(b, corners_b.only(counts))
    # atan2 of sine and cosine is exact near 0, where acos is not.
    sine, cosine = torch.linalg.cross(one, other).norm(dim=1), (one * other).sum(1)
    angle = torch.rad2deg(torch.atan2(sine, cosine))
    error = torch.where((one.norm(dim=1) > 0) & (other.norm(dim=1) > 0), angle, _NO_ANSWER_DEG)
    return Score(float(error.mean()), float(len(error)))


def _places(evidence: ViewEvidence, uv: Float[Tensor, "point 2"]) -> tuple[Corners, Bool[Tensor, " point"]]:
    grid = embedding_grid(evidence)
    corners = Corners.bilinear(uv, grid)
    return corners, corners.count(counted_cells(evidence.counts, grid))


def _in_world(evidence: ViewEvidence, corners: Corners) -> Float[Tensor, "point 3"]:
    """Return predicted directions (x right, y down, z forward in the camera) in world axes."""
    in_camera = corners.read(evidence.lifted.prediction.values)
    return in_camera @ evidence.frame.camera.w2c[:3, :3]
