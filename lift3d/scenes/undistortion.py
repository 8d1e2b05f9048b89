"""Lens models: where a ray of the undistorted camera falls in the file. Models are evaluated nowhere else.

Letters: ``fraction`` is a pixel divided by the size of its image, so it holds for the file at every size.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numpy import ndarray

from lift3d.domain.camera import ImageSize
from lift3d.errors import CameraError
from lift3d.scenes.resampling import NOWHERE, read_between

if TYPE_CHECKING:
    from lift3d.scenes.colmap_log import pycolmap

# A ray that is missed by more than this when its distortion is undone is past a fold of the lens polynomial;
# in units of z = 1, a tenth of a pixel at a focal length of 1000.
_FOLD_TOLERANCE = 1e-4
_MAX_TABLES = 4
# The lens that bends nothing and its parameters: fx, fy, cx, cy. COLMAP, 55 MB once imported, is not asked about it.
_PINHOLE, _PINHOLE_PARAMS = "PINHOLE", 4
_BAND_PIXELS = 2**20


@dataclass(frozen=True, slots=True)
class Distortion:
    """A lens as COLMAP writes it: the model's name, its parameters, and the image size they refer to."""

    model: str
    params: tuple[float, ...]
    size: ImageSize

    def __post_init__(self) -> None:
        is_sound = len(self.params) == _PINHOLE_PARAMS and all(map(math.isfinite, self.params))
        if self.model != _PINHOLE or not is_sound:
            _lens(self)


def is_pinhole(distortion: Distortion) -> bool:
    """Whether the lens bends nothing, so that there is nothing to undo."""
    if distortion.model == _PINHOLE:
        return True
    lens = _lens(distortion)
    # A fisheye without coefficients counts as undistorted in pycolmap, though it is not a pinhole.
    return bool(lens.is_perspective_pinhole() and lens.is_undistorted())


def pinhole_intrinsics(distortion: Distortion) -> Float64[ndarray, "3 3"]:
    """Return K of the lens's focal lengths and principal point; CameraError if it has none (spherical cameras)."""
    lens = _lens(distortion)
    if lens.is_spherical():
        raise CameraError(
            f"Camera model '{distortion.model}' is spherical and has no pinhole intrinsics. Cut perspective "
            "views out of the panoramas first."
        )
    return np.ascontiguousarray(lens.calibration_matrix())


@lru_cache(maxsize=_MAX_TABLES)
def file_fractions(
    distortion: Distortion, K_rows: tuple[float, ...], size: ImageSize
) -> Float32[ndarray, "height width 2"]:
    """Return where each pixel centre of the undistorted image lies in the file, which has the lens ``distortion``.

    ``K_rows`` are intrinsics of the undistorted image at ``size``, row by row. The result are fractions of the file's
    width and height, NaN where the lens model does not reach.
    """
    table = np.empty((size.height, size.width, 2), np.float32)
    # By bands of rows: what is computed on the way takes fifteen times the table.
    height = max(1, _BAND_PIXELS // size.width)
    for top in range(0, size.height, height):
        rows = range(top, min(top + height, size.height))
        table[rows.start : rows.stop] = _band(distortion, np.array(K_rows).reshape(3, 3), rows, size.width)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=_MAX_TABLES)
def file_places(
    distortion: Distortion, K_rows: tuple[float, ...], size: ImageSize
) -> tuple[Float32[ndarray, "height width 2"], Bool[ndarray, "height width"]]:
    """Return the same for an image of the file's own size, as OpenCV's pixels, and whether all four around are there.

    All views of a lens share them: they are dearer than reading an image there.
    """
    places = file_fractions.__wrapped__(distortion, K_rows, size)
    places.setflags(write=True)
    places *= np.array([size.width, size.height], np.float32)
    places -= np.float32(0.5)
    places[np.isnan(places)] = NOWHERE
    is_inside = read_between(np.full((size.height, size.width), 255, np.uint8), places) == 255
    for one in (places, is_inside):
        one.setflags(write=False)
    return places, is_inside


def _band(
    distortion: Distortion, K: Float64[ndarray, "3 3"], rows: range, width: int
) -> Float64[ndarray, "row width 2"]:
    v, u = np.mgrid[rows.start : rows.stop, 0:width] + 0.5
    y = (v.ravel() - K[1, 2]) / K[1, 1]
    x = (u.ravel() - K[0, 2] - K[0, 1] * y) / K[0, 0]
    extent = np.array([distortion.size.width, distortion.size.height])
    if distortion.model == _PINHOLE:
        fx, fy, cx, cy = distortion.params
        straight: ndarray = np.stack([fx * x + cx, fy * y + cy], axis=-1) / extent
        return straight.reshape(len(rows), width, 2)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    lens = _lens(distortion)
    uv = np.asarray(lens.img_from_cam(rays))
    back = np.asarray(lens.cam_from_img(np.nan_to_num(uv)))
    if back.shape[-1] == 2:
        back = np.concatenate([back, np.ones_like(back[:, :1])], axis=-1)
    # Models past a pinhole's half space give unit rays; comparing at z = 1 serves both.
    with np.errstate(divide="ignore", invalid="ignore"):
        miss = np.abs(back[:, :2] / back[:, 2:] - rays[:, :2]).max(axis=-1)
    is_reached = (
        np.isfinite(uv).all(axis=-1) & (back[:, 2] > 0) & (miss < _FOLD_TOLERANCE * (1 + np.abs(x) + np.abs(y)))
    )
    fractions = uv / extent
    fractions[~is_reached] = np.nan
    band: ndarray = fractions.reshape(len(rows), width, 2)
    return band


def _lens(distortion: Distortion) -> "pycolmap.Camera":
    """Build the pycolmap camera or say what is wrong with it."""
    from lift3d.scenes.colmap_log import pycolmap

    if distortion.model not in pycolmap.CameraModelId.__members__ or distortion.model == "INVALID":
        known = ", ".join(sorted(name for name in pycolmap.CameraModelId.__members__ if name != "INVALID"))
        raise CameraError(f"Unknown camera model '{distortion.model}'. Known: {known}.")
    try:
        lens = pycolmap.Camera(
            model=distortion.model,
            width=distortion.size.width,
            height=distortion.size.height,
            params=list(distortion.params),
        )
        is_sound = lens.verify_params() and bool(np.isfinite(distortion.params).all())
    except (ValueError, RuntimeError) as error:
        raise CameraError(f"Camera model '{distortion.model}' refuses {distortion.params}: {error}") from error
    if not is_sound:
        raise CameraError(f"Camera model '{distortion.model}' needs other parameters than {distortion.params}.")
    return lens
