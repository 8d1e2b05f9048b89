"""Directions (surface normals) of two views against each other, in world axes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.scores import Score
from lift3d.metrics.counting import Corners, counted_cells, embedding_grid
from lift3d.metrics.figures import pair_metrics, undefined
from lift3d.metrics.protocol import Matches, ViewEvidence

# The angle between a direction and none: as far off as a guess at random is on average.
_NO_ANSWER_DEG = 90.0


def direction_cross(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """Mean angle in degrees between what two views say of a point, both in world axes."""
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


direction_cross_short, direction_cross_long = pair_metrics(
    "lower", direction_cross, kinds=("embedding",), quantities=("direction",)
)


def _places(evidence: ViewEvidence, uv: Float[Tensor, "point 2"]) -> tuple[Corners, Bool[Tensor, " point"]]:
    grid = embedding_grid(evidence)
    corners = Corners.bilinear(uv, grid)
    return corners, corners.count(counted_cells(evidence.counts, grid))


def _in_world(evidence: ViewEvidence, corners: Corners) -> Float[Tensor, "point 3"]:
    """Return predicted directions (x right, y down, z forward in the camera) in world axes."""
    in_camera = corners.read(evidence.lifted.prediction.values)
    return in_camera @ evidence.frame.camera.w2c[:3, :3]
