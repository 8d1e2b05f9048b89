"""Rigid transforms and rotations.

Letters: ``a2b`` takes coordinates in a to coordinates in b, read right to left.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def inverse(a2b: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Invert a rigid transform without a linear solve."""
    rotation = a2b[..., :3, :3].transpose(-1, -2)
    b2a = torch.zeros_like(a2b)
    b2a[..., :3, :3] = rotation
    b2a[..., :3, 3:] = -rotation @ a2b[..., :3, 3:]
    b2a[..., 3, 3] = 1
    return b2a


def transform(
    a2b: Float[Tensor, "*#batch 4 4"], xyz: Float[Tensor, "*#batch point 3"]
) -> Float[Tensor, "*batch point 3"]:
    """Take points in a to points in b, where the points lie."""
    a2b = a2b.to(xyz.device)
    return xyz @ a2b[..., :3, :3].transpose(-1, -2) + a2b[..., None, :3, 3]


def nearest_rotation(matrix: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
    """Return the rotation nearest to a matrix in the Frobenius norm (det +1).

    Source:
        Hartley & Zisserman, Multiple View Geometry, 2nd ed., A4.1 (orthogonal Procrustes by SVD).
    """
    left, _, right = torch.linalg.svd(matrix)
    sign = torch.linalg.det(left @ right)
    proper: Tensor = left @ torch.diag(matrix.new_tensor([1.0, 1.0, float(sign)])) @ right
    return proper


def look_at(center: Float[Tensor, "3"], target: Float[Tensor, "3"], roll: float = 0.0) -> Float[Tensor, "4 4"]:
    """Return w2c of a camera at a place that looks at another; upright (world z is up) but for the roll, radians."""
    forward = normalize(target - center, dim=0)
    up = [0.0, 0.0, 1.0] if abs(float(forward[2])) < 0.99 else [0.0, 1.0, 0.0]
    right = normalize(torch.linalg.cross(forward, forward.new_tensor(up)), dim=0)
    down = torch.linalg.cross(forward, right)
    if roll:
        cos, sin = math.cos(roll), math.sin(roll)
        right, down = cos * right + sin * down, cos * down - sin * right
    w2c = torch.eye(4, dtype=torch.float64)
    w2c[:3, :3] = torch.stack([right, down, forward])
    w2c[:3, 3] = -w2c[:3, :3] @ center
    return w2c
