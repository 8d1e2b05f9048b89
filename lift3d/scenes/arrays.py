"""Scenes of arrays in memory: images, intrinsics and poses that somebody's own code holds already."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.scene import DepthRange, Scene
from lift3d.errors import ConfigError
from lift3d.geometry.rigid import inverse
from lift3d.scenes.array_frame import ArrayFrame
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.rotations import opencv_from_opengl, rigid
from lift3d.scenes.scene_draft import SceneDraft


def scene(
    location: str | Path | None = None,
    *,
    images: Any = None,
    K: Any = None,
    c2w: Any = None,
    w2c: Any = None,
    axes: str = "opencv",
    depths: Any = None,
    masks: Any = None,
    labels: Any = None,
    label_names: dict[int, str] | None = None,
    names: Sequence[str] | None = None,
    depth_range: tuple[float, float] | None = None,
    is_metric: bool = False,
    id: str = "scene",
) -> Scene:
    """Return a posed scene: of files, by its location, or of arrays, one of each for every view.

    Args:
        location: A folder, a file, or ``procedural:…``; nothing else is given then.
        images: (height, width, 3) each, uint8, or floats in [0, 1].
        K: (3, 3), or one for each view: pixels, the origin at the outer corner of the first one.
        c2w: (view, 4, 4) camera-to-world, or
        w2c: (view, 4, 4) world-to-camera.
        axes: Of the cameras: opencv (x right, y down, z forward; COLMAP) or opengl (x right, y up, z back; nerfstudio,
            Blender).
        depths: (height, width) camera z in units of the world, 0 or NaN where unknown. Of any size in proportion.
        masks: (height, width), False where pixels must not count.
        labels: (height, width) class ids, negative where unknown.
        label_names: What the ids mean.
        names: Of the views; their numbers if None.
        depth_range: Nearest and farthest z that matters; estimated if None.
        is_metric: Whether a unit of the world is a metre.
        id: What the scene is called.

    Raises:
        ConfigError: If numbers of things differ, or arrays are of another shape or kind.
        SceneFormatError: If a location cannot be read, or all poses are the same.
        CameraError: If a matrix is no camera.

    Example:
        >>> eye = torch.eye(4).repeat(2, 1, 1)
        >>> eye[1, 0, 3] = 0.1  # 10 cm to the right
        >>> photographs = [torch.rand(48, 64, 3).numpy() for _ in range(2)]
        >>> lift3d.scene(images=photographs, K=[[60, 0, 32], [0, 60, 24], [0, 0, 1]], c2w=eye)
    """
    if location is not None:
        if images is not None or K is not None or c2w is not None or w2c is not None:
            raise ConfigError("scene() takes a location, or arrays, not both.")
        return read_scene(str(location))
    if images is None or K is None or (c2w is None) == (w2c is None):
        raise ConfigError("scene() takes a location, or images, K and one of c2w and w2c.")
    if axes not in ("opencv", "opengl"):
        raise ConfigError(f"axes is {axes!r}; expected opencv or opengl.")
    count = len(images)
    poses = _of_each("c2w" if w2c is None else "w2c", c2w if w2c is None else w2c, count)
    intrinsics = _of_each("K", K, count) if np.ndim(_array("K", K)) == 3 else [K] * count
    maps = {"depths": depths, "masks": masks, "labels": labels}
    given = {name: [None] * count if of is None else _of_each(name, of, count) for name, of in maps.items()}
    called = [f"{at:04d}" for at in range(count)] if names is None else _of_each("names", names, count)
    draft = SceneDraft(id, f"arrays:{id}", label_names=dict(label_names or {}), is_metric=is_metric)
    draft.depth_range = None if depth_range is None else DepthRange(*depth_range)
    for at, name in enumerate(called):
        source = ArrayFrame(
            _image(images[at], at),
            _map(given["depths"][at], "depths", at, np.float32),
            _map(given["masks"][at], "masks", at, np.bool_, _image(images[at], at).shape[:2]),
            _map(given["labels"][at], "labels", at, np.int64),
        )
        pose, was_repaired = rigid(poses[at])
        if w2c is not None:
            pose = inverse(pose)
        if axes == "opengl":
            pose = opencv_from_opengl(pose)
        camera = Camera(torch.as_tensor(_array("K", intrinsics[at]), dtype=torch.float64), inverse(pose), source.size)
        draft.add(str(name), camera, source, was_repaired=was_repaired, states_size=False)
    return draft.finish()


def _of_each(name: str, given: Any, count: int) -> list[Any]:
    found = list(given)
    if len(found) != count:
        raise ConfigError(f"scene() got {count} images and {len(found)} of {name}; expected one for each.")
    return found


def _array(name: str, given: Any) -> Shaped[ndarray, "..."]:
    try:
        return given.numpy(force=True) if isinstance(given, Tensor) else np.asarray(given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name} is no array of numbers: {error}.") from error


def _image(given: Any, at: int) -> UInt8[ndarray, "height width 3"]:
    values = _array(f"images[{at}]", given)
    is_float = values.dtype.kind == "f"
    if values.ndim != 3 or values.shape[2] != 3 or not values.size or not (is_float or values.dtype == np.uint8):
        raise ConfigError(
            f"images[{at}] is {values.dtype} of shape {values.shape}; expected (height, width, 3), uint8 or floats "
            "in [0, 1]."
        )
    if is_float:
        if not (values.min() >= 0 and values.max() <= 1):
            raise ConfigError(f"images[{at}] has floats from {values.min():g} to {values.max():g}; expected 0 to 1.")
        values = np.rint(255 * values).astype(np.uint8)
    return np.ascontiguousarray(values)


def _map(given: Any, name: str, at: int, kind: type, size: tuple[int, ...] | None = None) -> Any:
    """Return a map of one number per pixel; of exactly that size if one is given."""
    if given is None:
        return None
    values = _array(f"{name}[{at}]", given)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "buif" or size not in (None, values.shape):
        wanted = "(height, width)" if size is None else str(size)
        raise ConfigError(f"{name}[{at}] is {values.dtype} of shape {values.shape}; expected numbers of {wanted}.")
    return np.ascontiguousarray(values.astype(kind))
