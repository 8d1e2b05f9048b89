"""Directions (surface normals) of two views against each other, in world axes."""

import torch

from lift3d.domain.scores import Score
from lift3d.metrics.counting import Reading
from lift3d.metrics.figures import pair_metrics, undefined
from lift3d.metrics.protocol import Matches, ViewEvidence

# The angle between a direction and none: as far off as a guess at random is on average.
_NO_ANSWER_DEG = 90.0


def direction_cross(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """Mean angle in degrees between what two views say of a point, both in world axes."""
    first, second = Reading.of(a, matches.uv_a), Reading.of(b, matches.uv_b)
    counts = first.counts & second.counts
    if not bool(counts.any()):
        return undefined("no-points", "no matched point counts in both views")
    # Predicted directions are x right, y down, z forward in each camera.
    one, other = first.at(counts) @ a.frame.camera.w2c[:3, :3], second.at(counts) @ b.frame.camera.w2c[:3, :3]
    # atan2 of sine and cosine is exact near 0, where acos is not.
    sine, cosine = torch.linalg.cross(one, other).norm(dim=1), (one * other).sum(1)
    angle = torch.rad2deg(torch.atan2(sine, cosine))
    error = torch.where((one.norm(dim=1) > 0) & (other.norm(dim=1) > 0), angle, _NO_ANSWER_DEG)
    return Score(float(error.mean()), float(len(error)))


direction_cross_short, direction_cross_long = pair_metrics(
    "lower", direction_cross, kinds=("embedding",), quantities=("direction",)
)
