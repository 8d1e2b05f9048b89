"""A training scene from a seed: a procedural world, cameras along its path, a sensor, and views with exact depth."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, UInt8
from numpy import ndarray

from lift3d.domain.camera import Camera, ImageSize
from lift3d.geometry.rigid import look_at
from lift3d.synthetic.families import FAMILIES, build_world
from lift3d.synthetic.shading import render

# Raised when the same seed would give other pixels.
RENDER_VERSION = 3
VIEW_COUNT = 14
HEIGHTS = (96, 128, 160, 192)
# Width over height.
_ASPECTS = (1.0, 1.25, 4 / 3, 1.5, 16 / 9, 0.75)
# Cameras leave the family's path by no more than this, metres: worlds keep free of it.
_FARTHEST_OFF_M = 0.12


@dataclass(frozen=True, slots=True, eq=False)
class RenderedScene:
    """All views of a training scene in sRGB, small enough to store.

    Disparity is 1 / z-depth at pixel centres, of the true poses. ``w2c`` are poses as a reconstruction would give them,
    with a small error in some scenes.
    """

    images: UInt8[ndarray, "view 3 row col"]
    disparity: Float16[ndarray, "view row col"]
    K: Float[ndarray, "3 3"]
    w2c: Float[ndarray, "view 4 4"]


@dataclass(frozen=True, slots=True)
class Sensor:
    """Strengths of what happens to every view of a scene, by default nothing; each view draws its own amounts.

    Exposure and white balance are spreads of log gains, vignetting is the corners' darkening, noise a deviation in
    sRGB, ``blur_px`` the largest deviation of the blur, ``pose_px`` that of how far a wrong rotation moves the picture.
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


def scene_size(seed: tuple[int, int]) -> ImageSize:
    """Return the image size of the scene of a seed: the width is a multiple of 16."""
    rng = np.random.default_rng((*seed, 1))
    height = int(rng.choice(HEIGHTS))
    return ImageSize(height, round(height * float(rng.choice(_ASPECTS)) / 16) * 16)


def render_scene(
    seed: tuple[int, int], family: str | None = None, size: ImageSize | None = None, sensor: Sensor | None = None
) -> RenderedScene:
    """Render the scene of a seed (of the collection, and number in it); what is None is drawn."""
    rng = np.random.default_rng(seed)
    # Draws happen whether or not they are overruled, so that the rest of the scene stays the same.
    drawn_family, drawn_sensor = str(rng.choice(sorted(FAMILIES))), draw_sensor(rng)
    family, sensor = family or drawn_family, sensor or drawn_sensor
    world = build_world(family, int(rng.integers(2**31)))
    cameras = _draw_cameras(rng, family, size or scene_size(seed))
    images, disparity, w2c = [], [], []
    for camera in cameras:
        frame = render(world, camera)
        if frame.z_depth is not None:
            disparity.append((1 / frame.z_depth.numpy()).astype(np.float16))
        images.append(expose(rng, frame.image.permute(1, 2, 0).numpy(), sensor))
        w2c.append(claimed_w2c(rng, camera, sensor))
    return RenderedScene(np.stack(images), np.stack(disparity), cameras[0].K.numpy().copy(), np.stack(w2c))


def _draw_cameras(rng: np.random.Generator, family: str, size: ImageSize) -> tuple[Camera, ...]:
    """Draw a stretch of the family's path and cameras beside it: one field of view, 35 to 80° along the longer side."""
    kind = FAMILIES[family]
    focal = max(size.height, size.width) / (2 * np.tan(np.radians(rng.uniform(35, 80)) / 2))
    middle = np.array([size.width, size.height]) * (0.5 + rng.uniform(-0.02, 0.02, 2))
    K = torch.tensor([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]], dtype=torch.float64)
    step = min(float(np.exp(rng.uniform(np.log(0.4), np.log(3.0)))), kind.max_steps / (VIEW_COUNT - 1))
    room = (kind.max_steps - step * (VIEW_COUNT - 1)) / 2
    start = rng.uniform(-room, room) - step * (VIEW_COUNT - 1) / 2
    sway, roll = rng.uniform(0, 0.08), np.radians(rng.uniform(0, 6))
    cameras = []
    for number in range(VIEW_COUNT):
        pose = kind.pose(start + step * (number + rng.uniform(-0.3, 0.3)))
        center, target = (torch.tensor(one, dtype=torch.float64) for one in pose)
        distance = float((target - center).norm())
        center = center + torch.from_numpy(rng.uniform(-1, 1, 3)) * min(sway * distance, _FARTHEST_OFF_M)
        target = target + torch.from_numpy(rng.normal(0, sway, 3)) * distance
        cameras.append(Camera(K, look_at(center, target, float(rng.normal(0, roll))), size))
    return tuple(cameras)
