"""A pinhole camera: intrinsics in pixels, a rigid world-to-camera transform, and the image size they belong to."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.errors import CameraError, ConfigError

ORTHONORMAL_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Image size in pixels."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ConfigError(f"Image size must be positive, got {self.height}×{self.width}.")

    def with_height(self, height: int) -> "ImageSize":
        """Return the size of the same shape at another height (width rounded to the nearest pixel)."""
        return ImageSize(height, max(1, round(self.width * height / self.height)))


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """An undistorted pinhole camera. Its matrices are the host's, wherever pixels lie.

    Not a lens model: readers undo distortion. Axes are OpenCV's (x right, y down, z forward); pixels have their
    origin at the outer corner of the top-left pixel.

    Attributes:
        K: Intrinsics in pixels, upper triangular with K[2, 2] = 1.
        w2c: Rigid transform, ``x_cam = w2c @ x_world``.
        size: Size of the image that K refers to.

    Raises:
        CameraError: If a value is not finite, K is no pinhole, or the rotation is not orthonormal with det +1.
    """

    K: Float[Tensor, "3 3"]
    w2c: Float[Tensor, "4 4"]
    size: ImageSize

    def __post_init__(self) -> None:
        object.__setattr__(self, "K", torch.as_tensor(self.K, dtype=torch.float64, device="cpu"))
        object.__setattr__(self, "w2c", torch.as_tensor(self.w2c, dtype=torch.float64, device="cpu"))
        _check_intrinsics(self.K)
        _check_rigid(self.w2c)

    @property
    def c2w(self) -> Float[Tensor, "4 4"]:
        """Camera-to-world transform."""
        rotation = self.w2c[:3, :3].T
        c2w = torch.eye(4, dtype=torch.float64, device="cpu")
        c2w[:3, :3] = rotation
        c2w[:3, 3] = -rotation @ self.w2c[:3, 3]
        return c2w

    @property
    def center(self) -> Float[Tensor, "3"]:
        """Camera centre in world coordinates."""
        return self.c2w[:3, 3]

    def resized(self, size: ImageSize) -> "Camera":
        """Return the camera of the image resized to ``size`` (each axis scaled on its own)."""
        scale = self.K.new_tensor([size.width / self.size.width, size.height / self.size.height, 1.0])
        return replace(self, K=scale[:, None] * self.K, size=size)

    def cropped(self, top: int, left: int, size: ImageSize) -> "Camera":
        """Return the camera of the window whose top-left pixel is (row ``top``, column ``left``)."""
        K = self.K.clone()
        K[:2, 2] -= K.new_tensor([left, top])
        return replace(self, K=K, size=size)


def _check_intrinsics(K: Tensor) -> None:
    if K.shape != (3, 3) or not bool(torch.isfinite(K).all()):
        raise CameraError(f"Intrinsics must be a finite 3×3 matrix, got {K.tolist()}.")
    lower = [K[1, 0], K[2, 0], K[2, 1], K[2, 2] - 1]
    if max(abs(float(entry)) for entry in lower) > 1e-9 or min(float(K[0, 0]), float(K[1, 1])) <= 0:
        raise CameraError(
            f"Intrinsics must be upper triangular with K[2,2]=1 and positive focal lengths, got {K.tolist()}."
        )


def _check_rigid(w2c: Tensor) -> None:
    if w2c.shape != (4, 4) or not bool(torch.isfinite(w2c).all()):
        raise CameraError(f"w2c must be a finite 4×4 matrix, got {w2c.tolist()}.")
    rotation = w2c[:3, :3]
    residual = float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64, device="cpu")).abs().max())
    bottom = float((w2c[3] - w2c.new_tensor([0.0, 0, 0, 1])).abs().max())
    if residual > ORTHONORMAL_TOLERANCE or bottom > 1e-9 or float(torch.linalg.det(rotation)) < 0:
        raise CameraError(
            f"w2c must be rigid (orthonormal rotation within {ORTHONORMAL_TOLERANCE}, det +1); "
            f"|RRᵀ−I| is {residual:.2e}. Project the rotation to SO(3) in the reader or drop the view."
        )
