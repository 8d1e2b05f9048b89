"""Which cameras are targets, and which views may be their sources: pure planning."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lift3d.config import Recipe
from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import ViewId, parse_json
from lift3d.domain.scene import DepthRange, View
from lift3d.domain.target import Target
from lift3d.errors import CameraError, ConfigError, SceneError
from lift3d.lifters import source_selection
from lift3d.lifters.source_selection import Candidates

# Cameras of a path at most: an hour of video.
MOST_NOVEL = 100_000


def choose_targets(views: Sequence[View], recipe: Recipe) -> tuple[Target, ...]:
    """Return a scene's targets under a recipe; SceneError if there are fewer than two views to be consistent."""
    if len(views) < 2:
        raise SceneError(
            f"Lifting needs at least 2 usable views, got {len(views)}. Add views, or look at the rows of dropped views."
        )
    if recipe.targets is not None:
        return _novel_targets(views, recipe)
    step, names = recipe.holdout or 1, tuple(view.id for view in views)
    # One list for all targets: of ten thousand views, lists of their own would take a gigabyte.
    shared = names if recipe.target_mode == "refine" else tuple(name for at, name in enumerate(names) if at % step)
    is_left_out = recipe.target_mode == "heldout" and step == 1
    return tuple(
        Target(
            view.id,
            _at_height(view.camera, recipe.image_height),
            view,
            AllBut(names, number) if is_left_out else shared,
        )
        for number, view in enumerate(views[::step])
    )


class AllBut(Sequence[ViewId]):
    """All views but one, in their order, without a list of its own."""

    def __init__(self, names: tuple[ViewId, ...], left_out: int) -> None:
        self.names, self.left_out = names, left_out

    def __len__(self) -> int:
        return len(self.names) - 1

    def __iter__(self) -> Iterator[ViewId]:
        return (name for at, name in enumerate(self.names) if at != self.left_out)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self)[index]
        at = range(len(self))[index]
        return self.names[at + (at >= self.left_out)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def scene_targets(views: Sequence[View], recipe: Recipe, depth_range: DepthRange) -> tuple[Target, ...]:
    """Return a scene's targets with their sources, for runs and plans; SceneError if there are fewer than two views."""
    cameras = {view.id: _at_height(view.camera, recipe.image_height) for view in views}
    return select_sources(choose_targets(views, recipe), cameras, recipe.sources, depth_range)


def views_to_encode(targets: Sequence[Target], *, is_anchored: bool = False) -> set[ViewId]:
    """Return the views whose features a scene needs, unless a fit asks for more: targets, and their sources.

    If a lifter reads the scene's surface, all views that may be sources answer.
    """
    chosen = {name for target in targets for name, _ in target.sources}
    used = {target.id for target in targets} | chosen
    return used | sources_of_any(targets) if is_anchored else used


def sources_of_any(targets: Sequence[Target]) -> set[ViewId]:
    """Return the views that may be sources of any target, without going through a list that many share twice."""
    found: set[ViewId] = set()
    for names in {id(target.source_ids): target.source_ids for target in targets}.values():
        # Two lists of all views but one have them all.
        if not isinstance(names, AllBut) or len(found) < len(names.names):
            found.update(names)
    return found


def select_sources(
    targets: Sequence[Target], cameras: Mapping[ViewId, Camera], count: int, depth_range: DepthRange
) -> tuple[Target, ...]:
    """Return the targets with their sources chosen: pure planning on cameras, for all targets before any is lifted."""
    shared: dict[int, Candidates] = {}
    chosen = []
    for target in targets:
        ids = target.source_ids
        names, left_out = (ids.names, ids.left_out) if isinstance(ids, AllBut) else (ids, None)
        if names and id(names) not in shared:
            shared[id(names)] = Candidates([(name, cameras[name]) for name in names])
        if ids:
            near = shared[id(names)].near(target.camera, count, depth_range, left_out)
            sources = source_selection.select_sources(target.camera, near, count, depth_range)
            target = replace(target, sources=tuple(sources))
        chosen.append(target)
    return tuple(chosen)


def _at_height(camera: Camera, height: int) -> Camera:
    return camera.resized(camera.size.with_height(height))


def _novel_targets(views: Sequence[View], recipe: Recipe) -> tuple[Target, ...]:
    location = recipe.targets or ""
    if location.startswith("path:"):
        count = location.removeprefix("path:")
        if not (count.isdecimal() and len(count) < 9 and 2 <= int(count) <= MOST_NOVEL):
            raise ConfigError(f"targets 'path:COUNT' needs a count from 2 to {MOST_NOVEL}, got '{location}'.")
        cameras = interpolated_path([view.camera for view in views], int(count))
    else:
        cameras = read_cameras(Path(location))
    sources = tuple(view.id for view in views)
    return tuple(
        Target(f"novel-{index:04d}", _at_height(camera, recipe.image_height), None, sources)
        for index, camera in enumerate(cameras)
    )


def interpolated_path(cameras: Sequence[Camera], count: int) -> list[Camera]:
    """Return cameras along the path of the given ones: spherical rotations, piecewise linear centres."""
    # Few runs have such a path: a tenth of a second that the others need not wait.
    from scipy.spatial.transform import Rotation, Slerp

    knots = np.arange(len(cameras), dtype=np.float64)
    at = np.linspace(0.0, len(cameras) - 1.0, count)
    rotations = Slerp(knots, Rotation.from_matrix(np.stack([camera.c2w[:3, :3].numpy() for camera in cameras])))(at)
    centers = np.stack([camera.center.numpy() for camera in cameras])
    path = []
    for step, rotation in zip(at, rotations.as_matrix(), strict=True):
        center = np.array([np.interp(step, knots, centers[:, axis]) for axis in range(3)])
        w2c = np.eye(4)
        w2c[:3, :3], w2c[:3, 3] = rotation.T, -rotation.T @ center
        nearest = cameras[round(step)]
        path.append(Camera(nearest.K, torch.from_numpy(w2c), nearest.size))
    return path


def read_cameras(path: Path) -> list[Camera]:
    """Read novel cameras: a JSON list of {"K": 3×3, "w2c": 4×4, "height": int, "width": int}.

    ConfigError if the file is missing or malformed, lists no camera, or one that cannot be.
    """
    expected = 'expected a JSON list of {"K": 3x3, "w2c": 4x4, "height": int, "width": int}'
    try:
        entries = parse_json(path.read_text(encoding="utf-8"))
        cameras = [
            Camera(
                torch.tensor(entry["K"], dtype=torch.float64),
                torch.tensor(entry["w2c"], dtype=torch.float64),
                ImageSize(operator.index(entry["height"]), operator.index(entry["width"])),
            )
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RuntimeError, CameraError) as error:
        raise ConfigError(f"Cannot read target cameras from '{path}' ({error}); {expected}.") from error
    if not cameras:
        raise ConfigError(f"'{path}' lists no camera; {expected}.")
    return cameras
