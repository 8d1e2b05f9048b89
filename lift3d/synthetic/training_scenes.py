"""A training scene from a seed: world, cameras, what a camera does to a picture, and every view with exact depth."""

import functools
from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, UInt8
from numpy import ndarray
from skimage.io import imread

from lift3d.domain.camera import Camera, ImageSize
from lift3d.errors import ImageError
from lift3d.synthetic.atlas import Atlas
from lift3d.synthetic.building import Site
from lift3d.synthetic.shading import render
from lift3d.synthetic.textures import draw_sky, draw_tile
from lift3d.synthetic.training_worlds import FAMILIES
from lift3d.synthetic.trajectories import draw_cameras
from lift3d.synthetic.world import World

# Raised when the same seed would give other pixels.
RENDER_VERSION = 2
VIEW_COUNT = 14
HEIGHTS = (96, 128, 160, 192)
# Width over height.
_ASPECTS = (1.0, 1.25, 4 / 3, 1.5, 16 / 9, 0.75)
_TILE_COUNT = 20
# Photographs that come inside scikit-image, in the public domain or under CC0; nothing is downloaded.
_PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "page.png", "retina.jpg", "rocket.jpg"),
    "text.png",
)
# Cameras keep this share of their usual distance from everything.
_CLEARANCE = 0.12


@dataclass(frozen=True, slots=True, eq=False)
class RenderedScene:
    """All views of a training scene in sRGB, small enough to store.

    Disparity is 1 / z-depth at pixel centres, NaN in the sky, of the true poses. ``w2c`` are poses as a reconstruction
    would give them, with a small error in some scenes.
    """

    images: UInt8[ndarray, "view 3 row col"]
    disparity: Float16[ndarray, "view row col"]
    K: Float[ndarray, "3 3"]
    w2c: Float[ndarray, "view 4 4"]


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
    world, cameras = _build(rng, family, size or scene_size(seed))
    images, disparity, w2c = [], [], []
    for camera in cameras:
        frame = render(world, camera)
        if frame.z_depth is not None:
            disparity.append((1 / frame.z_depth.numpy()).astype(np.float16))
        images.append(expose(rng, frame.image.permute(1, 2, 0).numpy(), sensor))
        w2c.append(claimed_w2c(rng, camera, sensor))
    return RenderedScene(np.stack(images), np.stack(disparity), cameras[0].K.numpy().copy(), np.stack(w2c))


def _build(rng: np.random.Generator, family: str, size: ImageSize) -> tuple[World, tuple[Camera, ...]]:
    plainness = float(rng.choice([0.03, 0.1, 0.4], p=[0.6, 0.3, 0.1]))
    site = Site(rng, _TILE_COUNT, plainness)
    bounds = FAMILIES[family](site)
    cameras = draw_cameras(rng, bounds, VIEW_COUNT, size)
    site.clear(np.stack([camera.center.numpy() for camera in cameras]), _CLEARANCE * bounds.distance)
    tiles = [draw_tile(rng, photographs()) for _ in range(_TILE_COUNT - 1)]
    return site.world(Atlas.of([*tiles, draw_sky(rng, photographs())])), cameras


@functools.lru_cache(maxsize=1)
def photographs() -> tuple[UInt8[ndarray, "_height _width 3"], ...]:
    """Return the photographs that textures are cut from, in a fixed order."""
    return tuple(photograph(name) for name in _PHOTOGRAPHS)


def photograph(name: str) -> UInt8[ndarray, "height width 3"]:
    """Read a photograph of scikit-image; ImageError if the package came without it."""
    path = files("skimage").joinpath("data", name)
    try:
        pixels = np.asarray(imread(str(path)))
    except OSError as error:
        raise ImageError(f"Photograph '{path}' is missing or does not decode; install scikit-image again.") from error
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    return np.ascontiguousarray(pixels[..., :3])
