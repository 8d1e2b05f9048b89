"""Intrinsics and lens of one frame of a ``transforms.json``."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.errors import CameraError, brief
from lift3d.scenes.camera_checks import stated_size
from lift3d.scenes.undistortion import Distortion, is_pinhole

# Tools write their radial polynomial k1..k4 and p1, p2 whatever the perspective model is called, so that the
# coefficients decide between COLMAP's models.
_PERSPECTIVE = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "PERSPECTIVE")
_FISHEYE = ("OPENCV_FISHEYE", "FISHEYE")
# Frames of one camera share a matrix; captures have few cameras.
_MOST_SHARED = 4
_FOREIGN_LENSES = ("ftheta_p0", "latlong", "equirectangular", "is_equirectangular")

# nerfstudio's order of the numbers in 'distortion_params'.
_PARAMS = ("k1", "k2", "k3", "k4", "p1", "p2")
# Ways to give focal lengths, by axis; the first that is there counts.
_FOCAL_KEYS = (("fl_x", "fl_y"), ("camera_angle_x", "camera_angle_y"), ("x_fov", "y_fov"))
LENS_KEYS = {
    *("w", "h", "cx", "cy", "k5", "k6", "camera_model", "is_fisheye", "distortion_params", *_PARAMS),
    *(key for keys in _FOCAL_KEYS for key in keys),
    *_FOREIGN_LENSES,
}

Get = Callable[..., Any]
Level = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class JsonLens:
    """K, the lens (None for a pinhole), the image size both refer to, and whether the file itself states that."""

    K: Float[Tensor, "3 3"]
    distortion: Distortion | None
    size: ImageSize
    states_size: bool


def read_lens(frame: Level, shared: Level, file_size: Callable[[], ImageSize]) -> JsonLens:
    """Return the intrinsics of a frame, with the file-wide values beneath its own.

    ``file_size`` reads the size of the image, where the file does not state it. CameraError if there is no focal
    length, a value is no number, or the model is unknown.
    """
    levels = (_with_params(frame), _with_params(shared))

    def get(key: str, default: Any = None) -> Any:
        return next((level[key] for level in levels if level.get(key) is not None), default)

    stated = _stated_size(get)
    size = stated or file_size()
    fl_x, fl_y = _focals(levels, get, size)
    cx, cy = number(get, "cx", size.width / 2), number(get, "cy", size.height / 2)
    K = intrinsics(fl_x, fl_y, cx, cy)
    model, coefficients = _model(get)
    lens = Distortion(model, (fl_x, fl_y, cx, cy, *coefficients), size)
    return JsonLens(K, None if is_pinhole(lens) else lens, size, stated is not None)


@lru_cache(maxsize=_MOST_SHARED)
def intrinsics(fl_x: float, fl_y: float, cx: float, cy: float) -> Float[Tensor, "3 3"]:
    """Return K, the same one for the same numbers."""
    return torch.tensor([[fl_x, 0.0, cx], [0.0, fl_y, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)


def _with_params(level: Level) -> Level:
    """Return a level with the list of its distortion, if it has one, under the names of the numbers."""
    params = level.get("distortion_params")
    if params is None:
        return level
    if not isinstance(params, list) or len(params) != len(_PARAMS):
        raise CameraError(f"'distortion_params' should be {', '.join(_PARAMS)}, got {brief(params)}.")
    return {**level, **dict(zip(_PARAMS, params, strict=True))}


def _model(get: Get) -> tuple[str, tuple[float, ...]]:
    """Return COLMAP's name of the lens model and its coefficients after fx, fy, cx, cy."""
    foreign = [key for key in _FOREIGN_LENSES if get(key)]
    name = get("camera_model") or ("OPENCV_FISHEYE" if get("is_fisheye") else "OPENCV")
    if foreign or name not in (*_PERSPECTIVE, *_FISHEYE):
        raise CameraError(
            f"Unknown camera model {brief(foreign[0] if foreign else name)}. Undistort the images first. "
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


def _stated_size(get: Get) -> ImageSize | None:
    if get("w") is None or get("h") is None:
        return None
    return stated_size(number(get, "h", 0.0), number(get, "w", 0.0))


def _focals(levels: Sequence[Level], get: Get, size: ImageSize) -> tuple[float, float]:
    """Return the focal lengths in pixels: given, or from fields of view in radians or (x_fov) degrees.

    What a frame says in any way comes before what the file says; an axis that nothing is said of is like the other.
    """
    for level in levels:
        for keys in _FOCAL_KEYS:
            if all(level.get(key) is None for key in keys):
                continue
            # A frame that gives one focal length leaves the other as the file has it; an angle is of this frame alone.
            look_up = get if keys == _FOCAL_KEYS[0] else level.get
            found = [_focal(look_up, key, extent) for key, extent in zip(keys, (size.width, size.height), strict=True)]
            fl_x, fl_y = (one or other for one, other in zip(found, reversed(found), strict=True))
            if fl_x and fl_y:
                return fl_x, fl_y
    raise CameraError("There is no focal length: expected 'fl_x' (pixels) or 'camera_angle_x' (radians).")


def _focal(get: Get, key: str, extent: int) -> float | None:
    if get(key) is None:
        return None
    value = positive(get, key, 0.0)
    if key.startswith("fl_"):
        return value
    angle = value if key.startswith("camera_angle") else math.radians(value)
    slope = math.tan(0.5 * angle) if angle < math.pi else 0.0
    if not 0.5 * extent / sys.float_info.max < slope:
        raise CameraError(f"A field of view of {angle} radians, of '{key}', is no pinhole's.")
    return 0.5 * extent / slope


def positive(get: Get, key: str, default: float | None = None) -> float:
    """Return a positive number of a file, or the default; CameraError if it is none."""
    value = number(get, key, default)
    if value <= 0:
        raise CameraError(f"'{key}' should be positive, got {value}.")
    return value


def numbers(values: object, count: int, name: str) -> list[float]:
    """Return so many finite numbers of a list of a file; CameraError if it is none."""
    if not isinstance(values, list) or len(values) != count:
        raise CameraError(f"'{name}' should be {count} numbers, got {brief(values)}.")
    return [number({name: one}.get, name) for one in values]


def number(get: Get, key: str, default: float | None = None) -> float:
    """Return a finite number of a file, or the default; CameraError if it is none."""
    value = get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise CameraError(f"'{key}' should be a finite number, got {brief(value)}.")
    return float(value)
