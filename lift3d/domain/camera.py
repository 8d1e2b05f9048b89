"""A pinhole camera: intrinsics in pixels, a rigid world-to-camera transform, and the image size they belong to."""

import math
from dataclasses import dataclass, replace
from itertools import chain

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
        if size == self.size:
            return self
        scale = self.K.new_tensor([size.width / self.size.width, size.height / self.size.height, 1.0])
        return replace(self, K=scale[:, None] * self.K, size=size)

    def cropped(self, top: int, left: int, size: ImageSize) -> "Camera":
        """Return the camera of the window whose top-left pixel is (row ``top``, column ``left``)."""
        K = self.K.clone()
        K[:2, 2] -= K.new_tensor([left, top])
        return replace(self, K=K, size=size)


def _check_intrinsics(K: Tensor) -> None:
    rows = K.tolist()
    if K.shape != (3, 3) or not all(map(math.isfinite, chain(*rows))):
        raise CameraError(f"Intrinsics must be a finite 3×3 matrix, got {rows}.")
    lower = (rows[1][0], rows[2][0], rows[2][1], rows[2][2] - 1)
    if max(map(abs, lower)) > 1e-9 or min(rows[0][0], rows[1][1]) <= 0:
        raise CameraError(f"Intrinsics must be upper triangular with K[2,2]=1 and positive focal lengths, got {rows}.")


def _check_rigid(w2c: Tensor) -> None:
    rows = w2c.tolist()
    if w2c.shape != (4, 4) or not all(map(math.isfinite, chain(*rows))):
        raise CameraError(f"w2c must be a finite 4×4 matrix, got {rows}.")
    *axes, bottom = rows
    # R Rᵀ by numbers: of matrices so small, operations of torch take ten times as long.
    a, b, c = ((x, y, z) for x, y, z, _ in axes)
    off = [_dot(a, a) - 1, _dot(b, b) - 1, _dot(c, c) - 1, _dot(a, b), _dot(a, c), _dot(b, c)]
    residual = max(map(abs, off))
    is_orthonormal = all(abs(one) <= ORTHONORMAL_TOLERANCE for one in off)
    is_homogeneous = max(map(abs, (*bottom[:3], bottom[3] - 1))) <= 1e-9
    normal = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    if not is_orthonormal or not is_homogeneous or _dot(normal, c) < 0:
        raise CameraError(
            f"w2c must be rigid (orthonormal rotation within {ORTHONORMAL_TOLERANCE}, det +1); "
            f"|RRᵀ−I| is {residual:.2e}. Project the rotation to SO(3) in the reader or drop the view."
        )


def _dot(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
