"""Scenes seen through rain, or through drops on the lens: ``rain:amount=1:LOCATION``, ``droplets:count=14:LOCATION``.

For measuring what is filled in where views are spoiled: LOCATION is any scene, every view is spoiled, and what is under
rain or drops is known from the scene itself. Depth and labels stay those of the scene.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import digest
from lift3d.domain.scene import Frame, Scene
from lift3d.errors import ConfigError
from lift3d.scenes.wrapped_frame import WrappedFrame
from lift3d.synthetic.options import parsed_options, require_within

RAIN, DROPLETS = "rain:", "droplets:"
# Raised when the same location would give other pixels.
CONTENT_VERSION = 1
Pixels = Float[ndarray, "height width 3"]
Alpha = Float[ndarray, "height width"]

# Streaks: one in so many pixels at amount 1; length and width of the image's height; how bright, and how opaque.
_PIXELS_PER_STREAK, _LENGTH, _WIDTH = 900, (0.06, 0.16), 1 / 240
_BRIGHT, _OPAQUE = 0.85, (0.4, 0.8)
# Radians from upright, the same for all streaks of a view.
_SLANT = 0.3
# What a streak hides more of than this is spoiled.
_SPOILED = 0.05
# Drops show the scene upside down and so many times smaller, out of focus.
_SHRUNK, _BLUR = 3.0, 0.012
_SIZES = (0.5, 1.3)


@dataclass(frozen=True, slots=True)
class RainSpec:
    """What a location with rain says: streaks, ``amount`` times as many as usual; ``known`` 1 makes them invalid."""

    amount: float = 1.0
    seed: int = 0
    known: int = 0

    scheme: ClassVar[str] = RAIN

    def __post_init__(self) -> None:
        require_within(self, {"amount": (0.0, 10.0), "seed": (0, 2**31 - 1), "known": (0, 1)}, "rain")

    def spoil(self, pixels: Pixels, index: int) -> tuple[Pixels, Bool[ndarray, "height width"]]:
        """Return a view in the rain, and where it is spoiled."""
        rng = np.random.default_rng((self.seed, index))
        height, width = pixels.shape[:2]
        alpha = np.zeros((height, width), dtype=np.float32)
        slant = rng.uniform(-_SLANT, _SLANT)
        for _ in range(round(self.amount * height * width / _PIXELS_PER_STREAK)):
            top, left, length = rng.uniform(-0.1, 1) * height, rng.uniform(0, width), rng.uniform(*_LENGTH) * height
            ends = [(left, top), (left + length * np.sin(slant), top + length * np.cos(slant))]
            _draw_line(alpha, ends, max(1.0, _WIDTH * height), rng.uniform(*_OPAQUE))
        shown = pixels * (1 - alpha[..., None]) + _BRIGHT * alpha[..., None]
        return shown, alpha > _SPOILED


@dataclass(frozen=True, slots=True)
class DropletSpec:
    """What a location with drops says: how many, their radius of the image's height; ``stuck`` 1 leaves them in place.

    Drops that are not stuck are elsewhere in every view. ``known`` 1 makes what is under them invalid.
    """

    count: int = 14
    size: float = 0.05
    stuck: int = 1
    seed: int = 0
    known: int = 0

    scheme: ClassVar[str] = DROPLETS

    def __post_init__(self) -> None:
        ranges = {"count": (0, 200), "size": (0.005, 0.5), "stuck": (0, 1), "seed": (0, 2**31 - 1), "known": (0, 1)}
        require_within(self, ranges, "droplet")

    def spoil(self, pixels: Pixels, index: int) -> tuple[Pixels, Bool[ndarray, "height width"]]:
        """Return a view through drops, and where it is spoiled."""
        rng = np.random.default_rng((self.seed, 0 if self.stuck else index))
        height, width = pixels.shape[:2]
        y, x = np.mgrid[:height, :width] + 0.5
        shown, is_spoiled = pixels.copy(), np.zeros((height, width), dtype=bool)
        for _ in range(self.count):
            v, u, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(*_SIZES) * self.size * height
            away = np.hypot((y - v) / rng.uniform(0.9, 1.3), x - u)
            inside = away < radius
            blurred = cv2.GaussianBlur(pixels, (0, 0), max(0.5, _BLUR * height))
            col, row = (
                (side / 2 - _SHRUNK * one).astype(np.float32) for side, one in ((width, x - u), (height, y - v))
            )
            seen = cv2.remap(blurred, col, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            # Light falls off towards the edge of a drop.
            shown[inside] = (seen * (1 - 0.35 * np.clip(away / radius, 0, 1) ** 3)[..., None])[inside]
            is_spoiled |= inside
        return shown, is_spoiled


@dataclass(frozen=True, slots=True, eq=False)
class SpoiledFrame(WrappedFrame):
    """A view that was spoiled."""

    spec: RainSpec | DropletSpec
    index: int

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        """Load the view and spoil it."""
        frame = self.source.load(camera, size)
        shown, is_spoiled = self._spoiled(frame)
        image = torch.from_numpy(np.ascontiguousarray(shown.transpose(2, 0, 1))).to(frame.image)
        is_valid = frame.is_valid & ~torch.from_numpy(is_spoiled) if self.spec.known else frame.is_valid
        return replace(frame, image=image.clamp(0, 1), is_valid=is_valid)

    def is_spoiled(self, camera: Camera, size: ImageSize) -> Bool[ndarray, "height width"]:
        """Return where the view is spoiled, whether that is known or not."""
        return self._spoiled(self.source.load(camera, size))[1]

    def content_digest(self) -> str:
        """Digest of the view's own, and of what spoils it."""
        own = {"scheme": self.spec.scheme, **asdict(self.spec), "index": self.index, "version": CONTENT_VERSION}
        return digest({**own, "source": self.source.content_digest()})

    def _spoiled(self, frame: Frame) -> tuple[Pixels, Bool[ndarray, "height width"]]:
        return self.spec.spoil(frame.image.permute(1, 2, 0).numpy(force=True).astype(np.float32), self.index)


class WeatherReader:
    """Reads ``rain:option=value&…:LOCATION`` and ``droplets:…``; the options are the fields of their specs."""

    def recognizes(self, location: str) -> bool:
        """Whether the location names such a scene."""
        return location.startswith((RAIN, DROPLETS))

    def read(self, location: str) -> Scene:
        """Read the scene; what reading it raises, ConfigError or UnknownNameError of options."""
        from lift3d.scenes.catalog import read_scene

        spec_type: Callable[..., RainSpec | DropletSpec] = RainSpec if location.startswith(RAIN) else DropletSpec
        kind = location.partition(":")[0]
        options, colon, inner = location.partition(":")[2].partition(":")
        if not colon or not inner:
            raise ConfigError(f"'{location}' names no scene; expected {kind}:seed=0:LOCATION.")
        spec = spec_type(**parsed_options(spec_type, options, kind.removesuffix("s")))  # type: ignore[arg-type]
        scene = read_scene(inner)
        return replace(
            scene,
            id=f"{scene.id}-{kind}-{'-'.join(f'{value:g}' for value in asdict(spec).values())}",
            location=location,
            views=tuple(
                replace(view, source=SpoiledFrame(view.source, spec, index)) for index, view in enumerate(scene.views)
            ),
            notes=(*scene.notes, f"All {len(scene.views)} views are spoiled: {kind}."),
        )


def _draw_line(alpha: Alpha, ends: list[tuple[float, float]], width: float, opacity: float) -> None:
    """Draw a line, antialiased, over what is there."""
    layer = np.zeros(alpha.shape, dtype=np.uint8)
    fixed = [tuple(round(one * 16) for one in end) for end in ends]
    cv2.line(layer, fixed[0], fixed[1], 255, max(1, round(width)), cv2.LINE_AA, 4)
    np.maximum(alpha, layer.astype(np.float32) * (opacity / 255), out=alpha)
