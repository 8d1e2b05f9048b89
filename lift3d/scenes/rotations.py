"""Rigid transforms as files give them: checked, repaired where that is harmless, turned to OpenCV axes."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ORTHONORMAL_TOLERANCE
from lift3d.errors import CameraError, brief
from lift3d.geometry.rigid import nearest_rotation

# Files written with a few digits miss orthonormality by this much; more is a scale or a shear.
REPAIRABLE = 1e-3


def rigid(matrix: Any) -> tuple[Float[Tensor, "4 4"], bool]:
    """Return a 3×4 or 4×4 transform with an exact rotation, and whether that took a noticeable repair.

    CameraError if it is no such matrix, not finite, mirrors, or is too far from a rotation.
    """
    given = _matrix(matrix)
    rotation = given[:3, :3]
    residual = float((rotation.T @ rotation - torch.eye(3, dtype=torch.float64)).abs().max())
    if residual > REPAIRABLE:
        raise CameraError(
            f"The transform's rotation is not orthonormal: |RᵀR−I| is {residual:.1e}, at most "
            f"{REPAIRABLE} is repaired. Remove scale and shear from the poses."
        )
    if float(torch.linalg.det(rotation)) < 0:
        raise CameraError("The transform mirrors (det −1); expected a rotation. Check the axes of the poses.")
    fixed = torch.eye(4, dtype=torch.float64)
    fixed[:3, :3] = nearest_rotation(rotation)
    fixed[:3, 3] = given[:3, 3]
    return fixed, residual > ORTHONORMAL_TOLERANCE


def opencv_from_opengl(c2w: Float[Tensor, "*view 4 4"]) -> Float[Tensor, "*view 4 4"]:
    """Turn a c2w with OpenGL camera axes (y up, z back) into one with OpenCV axes (y down, z forward)."""
    return c2w * torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=c2w.dtype)


def _matrix(matrix: Any) -> Float[Tensor, "4 4"]:
    try:
        given = torch.as_tensor(matrix, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise CameraError(f"A transform should be a 4×4 matrix of numbers: {error}.") from error
    bottom = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    if tuple(given.shape) == (3, 4):
        given = torch.cat([given, bottom])
    if tuple(given.shape) != (4, 4) or not bool(torch.isfinite(given).all()):
        raise CameraError(f"A transform should be a finite 4×4 matrix, got {brief(matrix)}.")
    if float((given[3] - bottom[0]).abs().max()) > 1e-9:
        raise CameraError(f"A rigid transform ends with 0 0 0 1, got {given[3].tolist()}.")
    return given
