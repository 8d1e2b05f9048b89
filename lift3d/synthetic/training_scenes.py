"""A training scene from a seed: world, cameras, sensor, and every view with its exact depth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float16, UInt8
from numpy import ndarray

from lift3d.domain.camera import Camera, ImageSize
from lift3d.errors import UnknownNameError
from lift3d.synthetic.atlas import Atlas
from lift3d.synthetic.building import Site
from lift3d.synthetic.sensor import Sensor, claimed_w2c, draw_sensor, expose
from lift3d.synthetic.shading import render
from lift3d.synthetic.textures import draw_sky, draw_tile, photographs
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


def scene_size(seed: tuple[int, int]) -> ImageSize:
    """Return the image size of the scene of a seed: the width is a multiple of 16."""
    rng = np.random.default_rng((*seed, 1))
    height = int(rng.choice(HEIGHTS))
    return ImageSize(height, round(height * float(rng.choice(_ASPECTS)) / 16) * 16)


def render_scene(
    seed: tuple[int, int], family: str | None = None, size: ImageSize | None = None, sensor: Sensor | None = None
) -> RenderedScene:
    """Render the scene of a seed (of the collection, and number in it); what is None is drawn."""
    if family is not None and family not in FAMILIES:
        raise UnknownNameError.of("family of training worlds", family, FAMILIES)
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
