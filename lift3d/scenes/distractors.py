"""Scenes into some of whose views things are pasted: ``distractors:share=0.2&seed=0:LOCATION``.

For measuring what passers-by do to a scene: LOCATION is any scene, every ``spare``-th view stays as it is (those that
``holdout`` of the same number makes targets), and of the others a share show a cut-out of a photograph, each somewhere
else. Depth and labels stay those of the scene.
"""

import functools
import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import digest
from lift3d.domain.scene import Frame, Scene
from lift3d.errors import ConfigError
from lift3d.scenes.wrapped_frame import WrappedFrame
from lift3d.synthetic.movers import disturbed_views
from lift3d.synthetic.options import parsed_options, require_within
from lift3d.synthetic.photographs import photograph

SCHEME = "distractors:"
# Raised when the same location would give other pixels.
CONTENT_VERSION = 1
_PHOTOGRAPHS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
# Where centres lie, as shares of either side; waves around the outline, and how deep they are, of the radius.
_MIDDLE, _WAVES, _DEPTH = (0.2, 0.8), (2, 3, 4, 5), 0.12
_RANGES = {"share": (0.0, 1.0), "size": (0.02, 1.0), "seed": (0, 2**31 - 1), "spare": (1, 10_000), "known": (0, 1)}


@dataclass(frozen=True, slots=True)
class DistractorSpec:
    """What a location says.

    Attributes:
        share: Of the views that are not spared, how many show something.
        size: Radius of what is pasted, as a share of the image's shorter side.
        seed: Of views, places, outlines and photographs.
        spare: Every so many views one is left as it is, from the first on.
        known: 1 gives it away: what is pasted is no valid pixel.
    """

    share: float = 0.2
    size: float = 0.4
    seed: int = 0
    spare: int = 8
    known: int = 0

    def __post_init__(self) -> None:
        require_within(self, _RANGES, "distractor")


@dataclass(frozen=True, slots=True, eq=False)
class PastedFrame(WrappedFrame):
    """A view before which something stands."""

    spec: DistractorSpec
    index: int

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        """Load the view and paste."""
        frame = self.source.load(camera, size)
        rng = np.random.default_rng((self.spec.seed, self.index))
        name = _PHOTOGRAPHS[int(rng.integers(len(_PHOTOGRAPHS)))]
        is_pasted = outline(rng, size, self.spec.size)
        is_valid = frame.is_valid & ~is_pasted if self.spec.known else frame.is_valid
        return replace(frame, image=torch.where(is_pasted, _covering(name, size), frame.image), is_valid=is_valid)

    def content_digest(self) -> str:
        """Digest of the view's own, and of what is pasted."""
        own = {**asdict(self.spec), "index": self.index, "version": CONTENT_VERSION}
        return digest({**own, "source": self.source.content_digest()})


class DistractorReader:
    """Reads ``distractors:option=value&…:LOCATION``; the options are the fields of DistractorSpec."""

    def recognizes(self, location: str) -> bool:
        """Whether the location names such a scene."""
        return location.startswith(SCHEME)

    def read(self, location: str) -> Scene:
        """Read the scene and choose the views; what reading it raises, ConfigError or UnknownNameError of options."""
        from lift3d.scenes.catalog import read_scene

        options, colon, inner = location.removeprefix(SCHEME).partition(":")
        if not colon or not inner:
            raise ConfigError(f"'{location}' names no scene; expected {SCHEME}share=0.2&seed=0:LOCATION.")
        spec = DistractorSpec(**parsed_options(DistractorSpec, options, "distractor"))  # type: ignore[arg-type]
        scene = read_scene(inner)
        hit = disturbed_views(spec.share, spec.seed, len(scene.views), spec.spare)
        views = tuple(
            replace(view, source=PastedFrame(view.source, spec, index)) if index in hit else view
            for index, view in enumerate(scene.views)
        )
        return replace(
            scene,
            id=f"{scene.id}-distractors-{'-'.join(f'{value:g}' for value in asdict(spec).values())}",
            location=location,
            views=views,
            notes=(*scene.notes, f"Cut-outs of photographs are pasted into {len(hit)} of {len(views)} views."),
        )


def outline(rng: np.random.Generator, size: ImageSize, radius: float) -> Bool[Tensor, "height width"]:
    """Draw a blob somewhere around the middle, of a radius that is a share of the shorter side."""
    y, x = np.mgrid[: size.height, : size.width] + 0.5
    v, u = y - rng.uniform(*_MIDDLE) * size.height, x - rng.uniform(*_MIDDLE) * size.width
    wave, phase = rng.normal(size=len(_WAVES)) * _DEPTH, rng.uniform(0, 2 * math.pi, len(_WAVES))
    angle = np.arctan2(v, u)[..., None]
    reach = 1 + (wave * np.cos(np.array(_WAVES) * angle + phase)).sum(-1)
    return torch.from_numpy(np.hypot(v, u) < radius * min(size.height, size.width) * reach)


@functools.lru_cache(maxsize=2 * len(_PHOTOGRAPHS))
def _covering(name: str, size: ImageSize) -> Float[Tensor, "3 height width"]:
    """Return the middle of a photograph, as large as an image."""
    pixels = torch.from_numpy(photograph(name)).permute(2, 0, 1).float() / 255
    scale = max(size.height / pixels.shape[1], size.width / pixels.shape[2])
    shape = [math.ceil(scale * side) for side in pixels.shape[1:]]
    scaled = torch.nn.functional.interpolate(pixels[None], shape, mode="bilinear", antialias=True)[0].clamp(0, 1)
    top, left = (shape[0] - size.height) // 2, (shape[1] - size.width) // 2
    return scaled[:, top : top + size.height, left : left + size.width]
