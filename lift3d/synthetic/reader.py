"""Scenes that are computed, not captured: ``procedural:room?seed=0&views=24&height=120&width=160``.

Exact z-depth, class labels and instance ids of every pixel at any size: for tests, training, demonstrations.
"""

import functools
import math
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import digest
from lift3d.domain.scene import DepthRange, Frame, Scene, View
from lift3d.errors import ImageError, UnknownNameError
from lift3d.synthetic.families import FAMILIES, build_world, camera_path
from lift3d.synthetic.movers import SPARED, disturbed_views, with_mover, with_traveller
from lift3d.synthetic.options import parsed_options, require_within
from lift3d.synthetic.shading import render
from lift3d.synthetic.tracing import cast
from lift3d.synthetic.world import World

SCHEME = "procedural:"
# Raised when the same location would give other pixels.
CONTENT_VERSION = 1
_POINTS_PER_VIEW = 16
# Of a longer path neighbours see the same.
_MOST_PROBED = 256
_MAX_PIXELS = 4096 * 4096
_DEPTH_MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class ProceduralSpec:
    """What a location says; equal specs give equal scenes.

    Views lie along a camera path through a world of the family; ``spacing`` is the distance of neighbours (1 is two to
    four degrees of parallax), ``fov_deg`` horizontal. ``depth`` or ``labels`` 0 hide z-depth, or labels and instances.
    Before a share of the views, ``movers``, stands a thing that is elsewhere each time; every eighth view has none.
    ``plain`` 1 takes pattern and noise from walls and ceiling: stereo finds nothing there. ``times`` are moments that
    each camera has a view of, through which a thing moves; ``views`` are then cameras.
    """

    family: str
    seed: int = 0
    views: int = 24
    height: int = 120
    width: int = 160
    fov_deg: float = 62.0
    spacing: float = 1.0
    depth: int = 1
    labels: int = 1
    movers: float = 0.0
    plain: int = 0
    times: int = 1

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise UnknownNameError.of("procedural family", self.family, FAMILIES)
        require_within(self, _RANGES, "procedural")

    @classmethod
    def parse(cls, location: str) -> "ProceduralSpec":
        """Read a location; UnknownNameError of family or option, ConfigError of a value that is none or given twice."""
        family, _, query = location.removeprefix(SCHEME).partition("?")
        return cls(family, **parsed_options(cls, query, "procedural"))  # type: ignore[arg-type]

    @property
    def scene_id(self) -> str:
        """Family, seed, and every option that is not the default."""
        extra = [
            f"{field.name}{getattr(self, field.name)}"
            for field in fields(self)
            if field.name not in ("family", "seed") and getattr(self, field.name) != field.default
        ]
        return "-".join([self.family, str(self.seed), *extra])


_RANGES: dict[str, tuple[int | float, int | float]] = {
    "seed": (0, 2**31 - 1),
    "views": (1, 10_000),
    "height": (8, 4096),
    "width": (8, 4096),
    "fov_deg": (10.0, 120.0),
    "spacing": (0.01, 10.0),
    "depth": (0, 1),
    "labels": (0, 1),
    "movers": (0.0, 1.0),
    "plain": (0, 1),
    "times": (1, 1000),
}


@dataclass(frozen=True, slots=True)
class ProceduralFrame:
    """The pixels of one view of a procedural scene, computed when asked for."""

    spec: ProceduralSpec
    index: int

    @property
    def has_depth(self) -> bool:
        """Whether load gives z_depth."""
        return bool(self.spec.depth)

    @property
    def has_labels(self) -> bool:
        """Whether load gives labels and instances."""
        return bool(self.spec.labels)

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        """Render at ``size``. Pixels are the view's own; ``camera`` may lie in a world moved rigidly."""
        own = ImageSize(self.spec.height, self.spec.width)
        if camera.size != own or size.height * size.width > _MAX_PIXELS:
            raise ImageError(
                f"Procedural view {self.index} is {own}; got a camera of {camera.size}, to render at {size}. "
                f"Expected the view's own camera and at most {_MAX_PIXELS} pixels; ask for fewer."
            )
        frame = _rendered(self.spec, self.index, size)
        return Frame(
            image=frame.image.clone(),
            is_valid=torch.ones(size.height, size.width, dtype=torch.bool),
            camera=camera.resized(size),
            z_depth=_copied(frame.z_depth, self.spec.depth),
            labels=_copied(frame.labels, self.spec.labels),
            instances=_copied(frame.instances, self.spec.labels),
        )

    def content_digest(self) -> str:
        """Digest of the parameters and the version of the renderer."""
        said = asdict(self.spec)
        # Locations from before an option keep their digests.
        for option, default in (("plain", 0), ("times", 1)):
            if said[option] == default:
                del said[option]
        return digest({**said, "index": self.index, "version": CONTENT_VERSION})


class ProceduralReader:
    """Reads ``procedural:FAMILY?option=value&…``; the options are the fields of ProceduralSpec."""

    def recognizes(self, location: str) -> bool:
        """Whether the location names a procedural scene."""
        return location.startswith(SCHEME)

    def read(self, location: str) -> Scene:
        """Build cameras and, from views along their path, depth range and a few surface points.

        Raises what ``ProceduralSpec.parse`` does.
        """
        spec = ProceduralSpec.parse(location)
        cameras = _cameras(spec)
        world, step = _world(spec), -(-len(cameras) // _MOST_PROBED)
        probes = [_probe(world, camera, view) for view, camera in enumerate(cameras) if view % step == 0]
        nearest = min(float(z_depth.min()) for z_depth, _ in probes)
        farthest = max(float(z_depth.max()) for z_depth, _ in probes)
        views = [
            View(f"{i:04d}", cameras[i // spec.times], ProceduralFrame(spec, i))
            for i in range(len(cameras) * spec.times)
        ]
        return Scene(
            id=spec.scene_id,
            location=location,
            views=tuple(views),
            depth_range=DepthRange(nearest * (1 - _DEPTH_MARGIN), farthest * (1 + _DEPTH_MARGIN)),
            points=torch.cat([points for _, points in probes]),
            label_names=dict(enumerate(FAMILIES[spec.family].label_names)) if spec.labels else {},
            is_metric=True,
            notes=("Computed, not captured; z-depth and labels are exact.",),
        )


@functools.lru_cache(maxsize=8)
def _cameras(spec: ProceduralSpec) -> tuple[Camera, ...]:
    focal = spec.width / (2 * math.tan(math.radians(spec.fov_deg) / 2))
    # The principal point is off the centre, as in every real camera; a mix-up of the two then shows.
    K = torch.tensor([[focal, 0, 0.51 * spec.width], [0, focal, 0.485 * spec.height], [0, 0, 1]], dtype=torch.float64)
    size = ImageSize(spec.height, spec.width)
    return tuple(Camera(K, w2c, size) for w2c in camera_path(spec.family, spec.views, spec.spacing))


def _world(spec: ProceduralSpec) -> World:
    return build_world(spec.family, spec.seed, has_plain_walls=bool(spec.plain))


@functools.lru_cache(maxsize=8)
def _rendered(spec: ProceduralSpec, index: int, size: ImageSize) -> Frame:
    world, camera = _world(spec), _cameras(spec)[index // spec.times]
    if spec.times > 1:
        world = with_traveller(world, _cameras(spec), spec.seed, (index % spec.times) / (spec.times - 1))
    elif index in disturbed_views(spec.movers, spec.seed, spec.views, SPARED):
        world = with_mover(world, camera, np.random.default_rng((spec.seed, index)))
    return render(world, camera.resized(size))


def _probe(world: World, camera: Camera, view: int) -> tuple[Tensor, Float[Tensor, "point 3"]]:
    """Coarse z-depth of a view and a few surface points, other pixels in every view."""
    coarse = camera.resized(camera.size.with_height(min(30, camera.size.height)))
    hits = cast(world, coarse)
    count = hits.z_depth.numel()
    pick = (torch.arange(_POINTS_PER_VIEW) * count // _POINTS_PER_VIEW + 37 * view) % count
    z_depth, direction = hits.z_depth.reshape(-1)[pick], hits.direction.reshape(-1, 3)[pick]
    # Directions are in world axes already; only the centre is to be added.
    return hits.z_depth, camera.center + direction * z_depth[:, None]


def _copied(values: Tensor | None, is_shown: int) -> Tensor | None:
    return values.clone() if values is not None and is_shown else None
