"""Intrinsics and lens of one frame of a ``transforms.json``."""

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.errors import CameraError
from lift3d.scenes.undistortion import Distortion, is_pinhole

# Tools write their radial polynomial k1..k4 and p1, p2 whatever the perspective model is called, so that the
# coefficients decide between COLMAP's models.
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "PERSPECTIVE")
_FISHEYE = ("OPENCV_FISHEYE", "FISHEYE")
_FOREIGN_LENSES = ("ftheta_p0", "latlong", "equirectangular", "is_equirectangular")

Get = Callable[..., Any]


def read_lens(
    get: Get, file_size: Callable[[], ImageSize]
) -> tuple[Float[Tensor, "3 3"], Distortion | None, ImageSize]:
    """Return K, the lens (None for a pinhole) and the image size both refer to.

    ``get`` looks a key up in the frame, then in the file, then takes the default; ``file_size`` reads the size of the
    image, where the file does not declare it. CameraError if there is no focal length, a value is no number, or the
    model is unknown.
    """
    size = _declared_size(get) or file_size()
    fl_x = _focal(get, "x", size.width)
    fl_y = _focal(get, "y", size.height)
    fl_x, fl_y = fl_x or fl_y, fl_y or fl_x
    if fl_x is None or fl_y is None:
        raise CameraError("There is no focal length: expected 'fl_x' (pixels) or 'camera_angle_x' (radians).")
    cx, cy = number(get, "cx", size.width / 2), number(get, "cy", size.height / 2)
    K = torch.tensor([[fl_x, 0.0, cx], [0.0, fl_y, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)
    model, coefficients = _model(get)
    lens = Distortion(model, (fl_x, fl_y, cx, cy, *coefficients), size)
    return K, None if is_pinhole(lens) else lens, size


def _model(get: Get) -> tuple[str, tuple[float, ...]]:
    """Return COLMAP's name of the lens model and its coefficients after fx, fy, cx, cy."""
    foreign = [key for key in _FOREIGN_LENSES if get(key)]
    name = get("camera_model") or ("OPENCV_FISHEYE" if get("is_fisheye") else "OPENCV")
    if foreign or name not in (*_PERSPECTIVE, *_FISHEYE):
        raise CameraError(
            f"Unknown camera model '{foreign[0] if foreign else name}'. Undistort the images first. "
            f"Known: {', '.join((*_PERSPECTIVE, *_FISHEYE))}."
        )
    k1, k2, k3, k4, k5, k6 = (number(get, f"k{index}", 0.0) for index in range(1, 7))
    p1, p2 = number(get, "p1", 0.0), number(get, "p2", 0.0)
    if name in _FISHEYE or get("is_fisheye"):
        if p1 or p2:
            raise CameraError(f"A fisheye has no tangential distortion here, got p1={p1}, p2={p2}.")
        return "OPENCV_FISHEYE", (k1, k2, k3, k4)
    if name == "FULL_OPENCV":
        return name, (k1, k2, p1, p2, k3, k4, k5, k6)
    if k4:
        # nerfstudio's k4 multiplies r⁸, FULL_OPENCV's divides by 1 + k4 r²: not the same lens.
        raise CameraError(f"k4={k4} with camera model '{name}' is ambiguous. Undistort the images first.")
    if k3:
        return "FULL_OPENCV", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)
    if any((k1, k2, p1, p2)):
        return "OPENCV", (k1, k2, p1, p2)
    return "PINHOLE", ()


def _declared_size(get: Get) -> ImageSize | None:
    if get("w") is None or get("h") is None:
        return None
    width, height = number(get, "w", 0.0), number(get, "h", 0.0)
    if width < 1 or height < 1 or width != round(width) or height != round(height):
        raise CameraError(f"The image size 'w', 'h' should be positive whole numbers, got {width} and {height}.")
    return ImageSize(int(height), int(width))


def _focal(get: Get, axis: str, extent: int) -> float | None:
    """Return the focal length in pixels: given, or from a field of view in radians or (x_fov) degrees."""
    if get(f"fl_{axis}") is not None:
        return _positive(get, f"fl_{axis}")
    if get(f"camera_angle_{axis}") is not None:
        angle = _positive(get, f"camera_angle_{axis}")
    elif get(f"{axis}_fov") is not None:
        angle = math.radians(_positive(get, f"{axis}_fov"))
    else:
        return None
    if angle >= math.pi:
        raise CameraError(f"A field of view of {angle} radians along {axis} is no pinhole's.")
    return 0.5 * extent / math.tan(0.5 * angle)


def _positive(get: Get, key: str) -> float:
    value = number(get, key, 0.0)
    if value <= 0:
        raise CameraError(f"'{key}' should be positive, got {value}.")
    return value


def number(get: Get, key: str, default: float) -> float:
    """Return a finite number of a file, or the default; CameraError if it is none."""
    value = get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise CameraError(f"'{key}' should be a finite number, got {value!r:.60}.")
    return float(value)
