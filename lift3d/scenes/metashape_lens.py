"""Lenses of Agisoft Metashape, in COLMAP's models.

With x = X / Z and r² = x² + y², x' = x (1 + K1 r² + K2 r⁴ + K3 r⁶ + K4 r⁸) + P1 (r² + 2 x²) + 2 P2 x y, y' alike with
P1 and P2 changed, u = w / 2 + cx + (f + B1) x' + B2 y', v = h / 2 + cy + f y', pixels with corner origin. Of a fisheye,
x and y are first taken times atan(r) / r. P1 and P2 are OpenCV's p2 and p1.

Source:
    Agisoft Metashape User Manual, Professional Edition 1.5, Appendix C. Camera models.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.errors import CameraError, brief
from lift3d.scenes.camera_checks import stated_size
from lift3d.scenes.json_lens import intrinsics
from lift3d.scenes.undistortion import Distortion, is_pinhole

_FRAME, _FISHEYE = "frame", "fisheye"
_REMEDY = "In Metashape, undistort the photographs (File, Export, Undistort Photos) and export the cameras of those."
# What may be left away, or be missed by another polynomial, pixels at the edge of the image.
_LARGEST_SKEW_PX, _LARGEST_MISS_PX = 0.5, 0.05
# What is undistorted has K and size of the file, and so no ray beyond its corners.
_REACH, _SAMPLES, _WIDEST = 1.02, 200, 100.0


@dataclass(frozen=True, slots=True, eq=False)
class MetashapeLens:
    """K, the lens (None for a pinhole), the image size that both refer to, and what there is to say of it."""

    K: Float[Tensor, "3 3"]
    distortion: Distortion | None
    size: ImageSize
    note: str = ""


def lens_of(kind: str, size: ImageSize, get: Callable[[str], float]) -> MetashapeLens:
    """Return the lens of a calibration, of which ``get`` gives the numbers by name, 0 where one is missing.

    CameraError if no model of COLMAP is that lens.
    """
    if kind not in (_FRAME, _FISHEYE):
        raise CameraError(f"Cameras of type '{kind[:40]}' are not read, but '{_FRAME}' and '{_FISHEYE}'. {_REMEDY}")
    f, cx, cy, b1, b2 = (get(name) for name in ("f", "cx", "cy", "b1", "b2"))
    k1, k2, k3, k4, p1, p2, p3, p4 = (get(name) for name in ("k1", "k2", "k3", "k4", "p1", "p2", "p3", "p4"))
    if f <= 0 or f + b1 <= 0:
        raise CameraError(f"The focal length 'f' should be positive, got {f} and, with 'b1', {f + b1}.")
    if p3 or p4:
        raise CameraError(f"Tangential distortion of higher order (p3={p3}, p4={p4}) is not read. {_REMEDY}")
    skew_px = abs(b2) * size.height / 2 / f
    if skew_px > _LARGEST_SKEW_PX:
        raise CameraError(
            f"The skew (b2={b2}) moves pixels at the edge by {skew_px:.2g}; no model here has any. {_REMEDY}"
        )
    pinhole = (f + b1, f, size.width / 2 + cx, size.height / 2 + cy)
    if kind == _FISHEYE:
        bent = (k1, k2, p2, p1, k3, k4, 0.0, 0.0)
        model, more = ("THIN_PRISM_FISHEYE", bent) if p1 or p2 else ("OPENCV_FISHEYE", (k1, k2, k3, k4))
    elif k4:
        reach = _REACH * math.hypot(size.width / 2 + abs(cx), size.height / 2 + abs(cy)) / min(pinhole[:2])
        n1, n2, n3, d1, d2, d3 = _rational((k1, k2, k3, k4), reach, f).tolist()
        model, more = "FULL_OPENCV", (n1, n2, p2, p1, n3, d1, d2, d3)
    else:
        model, more = "FULL_OPENCV", (k1, k2, p2, p1, k3, 0.0, 0.0, 0.0)
        model, more = (model, more) if k3 else ("OPENCV", more[:4])
    lens = Distortion(model, (*pinhole, *more), size)
    is_straight = is_pinhole(lens)
    note = f"The skew of the lens was left away: {skew_px:.2f} pixels at the edge of the image." if b2 else ""
    return MetashapeLens(intrinsics(*pinhole), None if is_straight else lens, size, note)


def _rational(k: tuple[float, ...], reach: float, f: float) -> Float[ndarray, "6"]:
    """Return FULL_OPENCV's numerator and denominator that are a polynomial of four terms in r², out to a radius.

    CameraError if they are not, to within a part of a pixel.
    """
    s = np.linspace(0, min(reach, _WIDEST), _SAMPLES) ** 2
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = np.polyval([*reversed(k), 1.0], s)
        columns = np.stack([s, s**2, s**3, -wanted * s, -wanted * s**2, -wanted * s**3], axis=1)
    refusal = CameraError(f"The radial distortion k1 to k4 = {k} is no lens that can be undone here. {_REMEDY}")
    # An error counts as much as it moves a pixel; columns of one length keep the solution small.
    weight, length = np.sqrt(s), np.abs(columns).max(axis=0)
    if not (np.isfinite(columns).all() and length.all()):
        raise refusal
    found: ndarray = np.linalg.lstsq(weight[:, None] * columns / length, weight * (wanted - 1))[0] / length
    above, below = (1 + np.stack([s, s**2, s**3], axis=1) @ part for part in (found[:3], found[3:]))
    if below.min() <= 0 or float((np.abs(above / below - wanted) * weight).max()) * f > _LARGEST_MISS_PX:
        raise refusal
    return found


def lenses_of(chunk: Element) -> Callable[[str], MetashapeLens]:
    """Return what gives the lens of a sensor; it raises CameraError where there is none."""
    sensors = {sensor.get("id"): sensor for sensor in chunk.iterfind("sensors/sensor")}
    known: dict[str, MetashapeLens] = {}

    def lens(sensor_id: str) -> MetashapeLens:
        if sensor_id not in known:
            sensor = sensors.get(sensor_id)
            own = [] if sensor is None else sensor.findall("calibration")
            # What was adjusted comes after what was begun with.
            own.sort(key=lambda one: one.get("class") == "adjusted")
            size = None if sensor is None or not own else own[-1].find("resolution")
            size = sensor.find("resolution") if sensor is not None and size is None else size
            if not own or size is None:
                raise CameraError(f"Sensor {brief(sensor_id)} of the camera has no calibration, or no resolution.")
            height, width = (xml_numbers(size.get(key), 1, key)[0] for key in ("height", "width"))
            known[sensor_id] = lens_of(
                own[-1].get("type", "frame"),
                stated_size(height, width),
                lambda name: xml_numbers(own[-1].findtext(name, "0"), 1, name)[0],
            )
        return known[sensor_id]

    return lens


def xml_numbers(text: str | None, count: int, name: str) -> list[float]:
    """Return so many finite numbers of a text; CameraError if it is none."""
    try:
        found = [float(word) for word in (text or "").split()]
    except ValueError:
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise CameraError(f"'{name}' should be {count} finite numbers, got {brief(text)}.")
    return found
