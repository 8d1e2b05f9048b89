"""A training scene from a seed: world, rig, sensor, and every view with its exact depth."""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float16, Float32, UInt8
from numpy import ndarray

from lift3d.domain.camera import Camera, ImageSize
from lift3d.errors import UnknownNameError
from lift3d.synthetic.building import Site
from lift3d.synthetic.photographs import PhotographSet, photographs
from lift3d.synthetic.rigs import draw_cameras
from lift3d.synthetic.sensor import Sensor, claimed_w2c, draw_sensor, expose
from lift3d.synthetic.skins import Atlas
from lift3d.synthetic.solids import Rays, cast
from lift3d.synthetic.textured_shading import World, shade
from lift3d.synthetic.textures import draw_sky, draw_tile
from lift3d.synthetic.training_worlds import FAMILIES

# Raised when the same seed would give other pixels.
RENDER_VERSION = 1
VIEW_COUNT = 14
HEIGHTS = (96, 128, 160, 192)
# Width over height.
ASPECTS = (1.0, 1.25, 4 / 3, 1.5, 16 / 9, 0.75)
_SAMPLES = 2
_TILE_COUNT = 20
# Cameras keep this share of their usual distance from everything.
_CLEARANCE = 0.12


@dataclass(frozen=True, slots=True, eq=False)
class RenderedScene:
    """All views of a training scene, small enough to store.

    Attributes:
        family: Which kind of world.
        rig: Which kind of camera path.
        images: sRGB.
        disparity: 1 / z-depth at pixel centres, NaN in the sky; of the true poses.
        K: Intrinsics of all views, pixels.
        w2c: Poses as a reconstruction would give them, with a small error in some scenes.
    """

    family: str
    rig: str
    images: UInt8[ndarray, "view 3 row col"]
    disparity: Float16[ndarray, "view row col"]
    K: Float[ndarray, "3 3"]
    w2c: Float[ndarray, "view 4 4"]


@functools.lru_cache(maxsize=1 << 17)
def scene_size(seed: tuple[int, int]) -> ImageSize:
    """Return the image size of the scene of a seed: one of HEIGHTS, one of ASPECTS, width a multiple of 16."""
    rng = np.random.default_rng((*seed, 1))
    height = int(rng.choice(HEIGHTS))
    return ImageSize(height, round(height * float(rng.choice(ASPECTS)) / 16) * 16)


def render_scene(
    seed: tuple[int, int],
    family: str | None = None,
    size: ImageSize | None = None,
    sensor: Sensor | None = None,
    pictures: tuple[PhotographSet, ...] = ("scikit-image",),
) -> RenderedScene:
    """Render the scene of a seed; equal arguments give equal scenes.

    Args:
        seed: Seed of the collection and number in it.
        family: Kind of world; drawn if None.
        size: Size of the images; drawn if None.
        sensor: What the cameras do to the pictures; drawn if None.
        pictures: Sets of photographs to cut textures from.

    Raises:
        UnknownNameError: If there is no such family.
        ConfigError: If the package of a set of photographs is not installed.
    """
    if family is not None and family not in FAMILIES:
        raise UnknownNameError.of("family of training worlds", family, FAMILIES)
    rng = np.random.default_rng(seed)
    # Draws happen whether or not they are overruled, so that the rest of the scene stays the same.
    drawn_family, drawn_sensor = str(rng.choice(sorted(FAMILIES))), draw_sensor(rng)
    family, size = family or drawn_family, size or scene_size(seed)
    sensor = drawn_sensor if sensor is None else sensor
    world, rig, cameras = _build(rng, family, size, pictures)
    images, disparity, w2c = [], [], []
    for camera in cameras:
        color, z_depth = render_view(world, camera)
        images.append(expose(rng, color, sensor))
        inverse = np.where(np.isfinite(z_depth), 1 / z_depth, np.nan).astype(np.float16)
        disparity.append(inverse)
        w2c.append(claimed_w2c(rng, camera, sensor))
    return RenderedScene(family, rig, np.stack(images), np.stack(disparity), cameras[0].K.numpy().copy(), np.stack(w2c))


def render_view(world: World, camera: Camera) -> tuple[Float32[ndarray, "row col 3"], Float32[ndarray, "row col"]]:
    """Return colour averaged over 2×2 samples, and z-depth at pixel centres, infinite in the sky."""
    rays = Rays.of(camera, _SAMPLES)
    color = shade(world, rays, cast(world.solids, rays))
    height, width = camera.size.height, camera.size.width
    color = color.reshape(height, _SAMPLES, width, _SAMPLES, 3).mean(axis=(1, 3))
    return color, cast(world.solids, Rays.of(camera, 1)).z_depth


def _build(
    rng: np.random.Generator, family: str, size: ImageSize, pictures: tuple[PhotographSet, ...]
) -> tuple[World, str, tuple[Camera, ...]]:
    plainness = float(rng.choice([0.03, 0.1, 0.4], p=[0.6, 0.3, 0.1]))
    site = Site(rng, _TILE_COUNT, plainness)
    zone = FAMILIES[family](site)
    rig, cameras = draw_cameras(rng, zone, VIEW_COUNT, size)
    site.clear(np.stack([camera.center.numpy() for camera in cameras]), _CLEARANCE * zone.distance)
    photos = photographs(pictures)
    tiles = [draw_tile(rng, photos) for _ in range(_TILE_COUNT - 1)]
    return site.world(Atlas.of([*tiles, draw_sky(rng, photos)])), rig, cameras
