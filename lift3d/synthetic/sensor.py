"""What a camera does to a picture: exposure, white balance, vignetting, blur, noise; and poses nearly right."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray

from lift3d.domain.camera import Camera


@dataclass(frozen=True, slots=True)
class Sensor:
    """Strengths of what happens to every view of a scene, by default nothing; each view draws its own amounts.

    Attributes:
        exposure: Spread of the log gain of a view, as ``white_balance`` is of a colour.
        vignetting: Darkening of the corners, share.
        noise: Standard deviation per pixel, sRGB.
        blur_px: Largest standard deviation of the blur, pixels.
        pose_px: How far a wrong rotation moves the picture, pixels: a standard deviation.
    """

    exposure: float = 0.0
    white_balance: float = 0.0
    vignetting: float = 0.0
    noise: float = 0.0
    blur_px: float = 0.0
    pose_px: float = 0.0


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """Draw the strengths of a scene: a few percent, a little noise; poses are wrong in a third of the scenes."""
    return Sensor(
        exposure=float(rng.uniform(0, 0.05)) * (rng.uniform() < 0.7),
        white_balance=float(rng.uniform(0, 0.025)) * (rng.uniform() < 0.6),
        vignetting=float(rng.uniform(0, 0.15)) * (rng.uniform() < 0.3),
        noise=float(rng.uniform(0, 0.015)) * (rng.uniform() < 0.6),
        blur_px=float(rng.uniform(0, 0.7)) * (rng.uniform() < 0.5),
        pose_px=float(rng.uniform(0.1, 0.3)) * (rng.uniform() < 0.33),
    )


def expose(
    rng: np.random.Generator, color: Float32[ndarray, "row col 3"], sensor: Sensor
) -> UInt8[ndarray, "3 row col"]:
    """Return the picture that a sensor takes of the light of one view."""
    gain = np.exp(rng.normal(0, sensor.exposure) + rng.normal(0, sensor.white_balance, 3))
    rows, cols = color.shape[:2]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : cols * 1j]
    shade = 1 - sensor.vignetting * (x * x + y * y) / 2
    seen = color * (gain * shade[..., None]).astype(np.float32)
    blur = float(rng.uniform(0, sensor.blur_px))
    if blur > 0.15:
        seen = cv2.GaussianBlur(seen, (0, 0), blur, borderType=cv2.BORDER_REFLECT)
    if sensor.noise > 0:
        seen = seen + sensor.noise * rng.standard_normal(seen.shape, dtype=np.float32)
    pixels = np.round(seen * 255).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def claimed_w2c(rng: np.random.Generator, camera: Camera, sensor: Sensor) -> Float[ndarray, "4 4"]:
    """Return the pose that a reconstruction would give: turned by a fraction of a pixel."""
    angles = rng.normal(0, sensor.pose_px, 3) / float(camera.K[0, 0])
    skew = torch.zeros(3, 3, dtype=torch.float64)
    skew[2, 1], skew[0, 2], skew[1, 0] = angles.tolist()
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.linalg.matrix_exp(skew - skew.T)
    return (turn @ camera.w2c).numpy()
