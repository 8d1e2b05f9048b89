"""Examples to train a lifter on: a target view, its sources, exact depth, and a depth range as a reader gives it.

They come from rendered scenes on disk, each of which is made once from its seed, by this process or by several.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import ViewId, parse_json
from lift3d.domain.scene import DepthRange, Frame
from lift3d.errors import ConfigError, StoreLayoutError
from lift3d.geometry.rigid import nearest_rotation
from lift3d.lifters.source_selection import select_sources
from lift3d.storage.whole_file import whole
from lift3d.synthetic.training_scenes import RENDER_VERSION, RenderedScene, render_scene

_MANIFEST = "cache.json"
_ARRAYS = tuple(field.name for field in fields(RenderedScene))
# As readers do: percentiles over each view, then the widest over views.
_PERCENTILES = (0.5, 99.5)
# World units per unit of a rendered world; nothing may depend on them.
_LEAST_SCALE, _MOST_SCALE = 0.05, 20.0
_THINNED, _BORDERED, _OWN_RANGE = 0.3, 0.12, 0.4


@dataclass(frozen=True, slots=True)
class SceneCache:
    """Scenes 0 … count − 1 of a seed, in a local folder. Equal seeds give equal scenes; more can be added later."""

    folder: Path
    seed: int
    count: int

    def __post_init__(self) -> None:
        wanted = {"render_version": RENDER_VERSION, "seed": self.seed}
        path = self.folder / _MANIFEST
        if not path.exists():
            with whole(path) as partial:
                partial.write_text(json.dumps(wanted))
        try:
            held = parse_json(path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"'{path}' does not read as JSON. Delete the folder; its scenes are made again."
            ) from error
        if held != wanted:
            raise ConfigError(f"'{self.folder}' holds scenes of {held}; expected {wanted}. Name an empty folder.")

    def scene(self, index: int) -> RenderedScene:
        """Read a scene; it is rendered and stored first if it is missing."""
        path = self.folder / f"{index:06d}.npz"
        if not path.exists():
            scene = render_scene((self.seed, index))
            with whole(path) as partial:
                np.savez(partial, allow_pickle=False, **{name: getattr(scene, name) for name in _ARRAYS})
            return scene
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
                return RenderedScene(**{name: held[name] for name in _ARRAYS})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StoreLayoutError(
                f"Training scene '{path}' is damaged ({error}). Delete it; it is made again."
            ) from error


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One target, with exact z_depth if it is known, and its sources, nearest first, all of one image size.

    ``depth_range`` is wide around the true depths, as readers guess it; ``scene`` a number in the cache, or a capture's
    name.
    """

    target: Frame
    sources: tuple[Frame, ...]
    depth_range: DepthRange
    scene: str


def choose_views(
    rng: np.random.Generator,
    target: Camera,
    others: Sequence[tuple[ViewId, Camera]],
    count: int,
    depth_range: DepthRange,
) -> list[ViewId]:
    """Return a target's nearest views, of some of the others only in a share of the draws: baselines are then wider."""
    if rng.uniform() < _THINNED and len(others) > count:
        kept = int(rng.integers(count, len(others) + 1))
        others = [others[place] for place in sorted(rng.permutation(len(others))[:kept].tolist())]
    return [view for view, _ in select_sources(target, others, count, depth_range)]


def draw_example(rng: np.random.Generator, rendered: RenderedScene, source_count: int, scene: str = "") -> Example:
    """Choose a target and its nearest views, and move the world rigidly and to another scale."""
    target = int(rng.integers(len(rendered.images)))
    cameras = [(f"{view:03d}", _camera(rendered, view)) for view in range(len(rendered.images))]
    span = _depth_span(rendered.disparity)
    others = cameras[:target] + cameras[target + 1 :]
    chosen = [int(view) for view in choose_views(rng, cameras[target][1], others, source_count, span)]
    own = _depth_span(rendered.disparity[target : target + 1]) if rng.uniform() < _OWN_RANGE else span
    motion, is_bordered = _Motion.draw(rng), bool(rng.uniform() < _BORDERED)
    frames = [_frame(rng, rendered, view, motion, is_bordered) for view in (target, *chosen)]
    near, far = motion.scale * own.near * rng.uniform(0.6, 1.0), motion.scale * own.far * rng.uniform(1.0, 2.0)
    return Example(frames[0], tuple(frames[1:]), DepthRange(float(near), float(far)), scene)


@dataclass(frozen=True, slots=True, eq=False)
class _Motion:
    """x' = scale · rotation · x + offset."""

    scale: float
    rotation: Float[Tensor, "3 3"]
    offset: Float[Tensor, "3"]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "_Motion":
        rotation = nearest_rotation(torch.from_numpy(rng.normal(size=(3, 3))))
        scale = float(np.exp(rng.uniform(np.log(_LEAST_SCALE), np.log(_MOST_SCALE))))
        return cls(scale, rotation, scale * torch.from_numpy(rng.normal(0, 3, 3)))

    def moved(self, camera: Camera) -> Camera:
        """Return the camera that sees the moved world as the camera sees this one."""
        turned = camera.w2c[:3, :3] @ self.rotation.T
        w2c = torch.eye(4, dtype=torch.float64)
        w2c[:3, :3] = turned
        w2c[:3, 3] = self.scale * camera.w2c[:3, 3] - turned @ self.offset
        return Camera(camera.K, w2c, camera.size)


def _camera(rendered: RenderedScene, view: int) -> Camera:
    height, width = rendered.images.shape[2:]
    return Camera(torch.from_numpy(rendered.K), torch.from_numpy(rendered.w2c[view]), ImageSize(height, width))


def _frame(rng: np.random.Generator, rendered: RenderedScene, view: int, motion: _Motion, is_bordered: bool) -> Frame:
    camera = motion.moved(_camera(rendered, view))
    image = torch.from_numpy(rendered.images[view].astype(np.float32) / 255)
    z_depth = motion.scale / torch.from_numpy(rendered.disparity[view].astype(np.float32))
    is_valid = torch.ones(z_depth.shape, dtype=torch.bool)
    if is_bordered:
        is_valid = _inside_lens(rng, camera.size)
        # What stands at invalid pixels must not matter, so it is anything.
        image = torch.where(is_valid, image, torch.full_like(image, float(rng.choice([0.0, 0.5, 1.0]))))
        z_depth = torch.where(is_valid, z_depth, torch.full_like(z_depth, torch.nan))
    return Frame(image=image, is_valid=is_valid, camera=camera, z_depth=z_depth)


def _inside_lens(rng: np.random.Generator, size: ImageSize) -> Bool[Tensor, "height width"]:
    """Pixels that undistorting a lens would leave: inside a rounded frame."""
    y, x = np.mgrid[-1 : 1 : size.height * 1j, -1 : 1 : size.width * 1j]
    bulge, margin = rng.uniform(0.02, 0.12, 2)
    inside = np.maximum(np.abs(x) + bulge * y * y, np.abs(y) + bulge * x * x) < 1.02 - margin / 2
    return torch.from_numpy(inside)


def _depth_span(disparity: Float16[ndarray, "view row col"]) -> DepthRange:
    """Widest percentiles of the views' depths."""
    spans = [np.percentile(one.astype(np.float64), _PERCENTILES) for one in disparity]
    far, near = 1 / min(span[0] for span in spans), 1 / max(span[1] for span in spans)
    return DepthRange(float(near), float(max(far, near * 1.01)))
