"""Depth against the true depth; depth and directions (surface normals) of two views against each other.

Predictions are depth or disparity in scene units: the scene's alignment (``operators.depth_alignment``) is all there
is, nothing is fitted here. A place where the answer is no positive depth errs by all of the true depth, as an answer of
0 would: unknown depth never pays.

Letters: z is camera z; D_j is the depth that view j's own prediction has; i→j is the depth in j of the point that i's
prediction puts at its pixel.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.scores import Score
from lift3d.geometry.projection import transfer
from lift3d.metrics.counting import Reading
from lift3d.metrics.figures import pair_metrics, undefined, view_metric
from lift3d.metrics.protocol import Matches, ViewEvidence

_QUANTITIES = ("depth", "disparity")
# The relative error of no answer: that of a depth of 0.
_NO_ANSWER = 1.0
# The angle between a direction and none: as far off as a guess at random is on average.
_NO_ANSWER_DEG = 90.0


@view_metric("lower", kinds=("scalar",), quantities=_QUANTITIES, needs=("depth",))
def depth_abs_rel(evidence: ViewEvidence) -> Score:
    """AbsRel: mean |z − z*| / z* over counted pixels with known depth z* (Eigen et al., NeurIPS 2014).

    Scale and shift are the scene's; nothing is aligned view by view.
    """
    truth = evidence.frame.z_depth
    if truth is None:
        return undefined("no-depth", "the view has no depth")
    is_scored = evidence.counts & torch.isfinite(truth)
    if not bool(is_scored.any()):
        return undefined("no-depth", "no counted pixel of the view has a known depth")
    predicted = 1 / _disparity(evidence)[is_scored]
    error = _relative_error(predicted, truth[is_scored].double())
    return Score(float(error.mean()), float(len(error)))


def depth_cross(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """Cross-view AbsRel: mean |z_(a→b) − D_b| / D_b over points that both views see.

    The point that a's depth puts at uv_a has some depth in b; D_b is what b itself says at uv_b. The scoring geometry
    says which pixels belong together, and nothing of how far they are.
    """
    first, second = Reading.of(a, matches.uv_a), Reading.of(b, matches.uv_b)
    counts = first.counts & second.counts
    if not bool(counts.any()):
        return undefined("no-points", "no matched point counts in both views")
    z_a, z_b = (
        1 / read.corners.only(counts).read(_disparity(view)[None])[:, 0] for view, read in ((a, first), (b, second))
    )
    cameras = [(one.frame.camera.K, one.frame.camera.w2c) for one in (a, b)]
    _, z_a_in_b = transfer(matches.uv_a[counts].double(), z_a, cameras[0], cameras[1])
    error = _relative_error(z_a_in_b, z_b)
    return Score(float(error.mean()), float(len(error)))


depth_cross_short, depth_cross_long = pair_metrics("lower", depth_cross, kinds=("scalar",), quantities=_QUANTITIES)


def direction_cross(a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
    """Mean angle in degrees between what two views say of a point, both in world axes."""
    first, second = Reading.of(a, matches.uv_a), Reading.of(b, matches.uv_b)
    counts = first.counts & second.counts
    if not bool(counts.any()):
        return undefined("no-points", "no matched point counts in both views")
    # Predicted directions are x right, y down, z forward in each camera.
    in_world = [view.frame.camera.w2c[:3, :3].to(counts.device) for view in (a, b)]
    one, other = first.at(counts) @ in_world[0], second.at(counts) @ in_world[1]
    # atan2 of sine and cosine is exact near 0, where acos is not.
    sine, cosine = torch.linalg.cross(one, other).norm(dim=1), (one * other).sum(1)
    angle = torch.rad2deg(torch.atan2(sine, cosine))
    error = torch.where((one.norm(dim=1) > 0) & (other.norm(dim=1) > 0), angle, _NO_ANSWER_DEG)
    return Score(float(error.mean()), float(len(error)))


direction_cross_short, direction_cross_long = pair_metrics(
    "lower", direction_cross, kinds=("embedding",), quantities=("direction",)
)


def _relative_error(z_depth: Float[Tensor, " place"], reference: Float[Tensor, " place"]) -> Float[Tensor, " place"]:
    is_depth = torch.isfinite(z_depth) & (z_depth > 0) & torch.isfinite(reference) & (reference > 0)
    return torch.where(is_depth, (z_depth - reference).abs() / reference, _NO_ANSWER)


def _disparity(evidence: ViewEvidence) -> Float[Tensor, "height width"]:
    """Return the predicted 1/z: between pixels it is linear on planes, which z is not."""
    values = evidence.lifted.prediction.values.double()
    return values if evidence.quantity == "disparity" else 1 / values
