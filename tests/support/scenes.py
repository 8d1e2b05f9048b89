"""Tiny scenes with closed-form pixels, depth and correspondences, for everybody's tests."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import digest
from lift3d.domain.scene import DepthRange, Frame, Scene, View
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import look_at

_SMALL = ImageSize(48, 64)
_WAVE_COUNT = 12


@dataclass(frozen=True, slots=True)
class Plane:
    """A textured plane in the world, a square card if half_width is finite. Its number is its label."""

    point: tuple[float, float, float] = (0.0, 0.0, 2.0)
    normal: tuple[float, float, float] = (0.0, 0.0, -1.0)
    seed: int = 0
    half_width: float = float("inf")
    shortest_wave: float = 0.25

    def axes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Two unit vectors in the plane, and its unit normal."""
        normal = torch.nn.functional.normalize(torch.tensor(self.normal, dtype=torch.float64), dim=0)
        first = torch.nn.functional.normalize(
            torch.linalg.cross(torch.tensor([0.0, 1, 0], dtype=torch.float64), normal), dim=0
        )
        return first, torch.linalg.cross(normal, first), normal

    def color(self, along: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
        """Smooth texture in (0, 1): a few cosines, none shorter than shortest_wave: no aliasing."""
        rng = np.random.default_rng([7, self.seed])
        angle = rng.uniform(0, np.pi, _WAVE_COUNT)
        length = 1 / (self.shortest_wave * rng.uniform(1, 4, _WAVE_COUNT))
        frequency = torch.tensor(2 * np.pi * length * np.stack([np.cos(angle), np.sin(angle)]))
        share = torch.tensor(rng.normal(size=(_WAVE_COUNT, 3)))
        phase = torch.tensor(rng.uniform(0, 2 * np.pi, _WAVE_COUNT))
        return 0.5 + 0.49 * torch.tanh((along @ frequency + phase).cos() @ share / 2)


@dataclass(frozen=True, slots=True, eq=False)
class PlanesFrame:
    """A view of planes, exact at any size; the nearest plane hides the others, misses are invalid."""

    planes: tuple[Plane, ...]
    own: Camera
    has_depth: bool = True
    has_labels: ClassVar[bool] = True

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        own = self.own.resized(size)
        uv = cell_centers(size.height, size.width).to(torch.float64)
        rays = directions_z1(uv, own.K) @ own.w2c[:3, :3]
        z_depth = torch.full(uv.shape[:2], torch.inf, dtype=torch.float64)
        image, labels = torch.full((*uv.shape[:2], 3), 0.5, dtype=torch.float64), torch.full(uv.shape[:2], -1)
        for number, plane in enumerate(self.planes):
            first, second, normal = plane.axes()
            offset = torch.tensor(plane.point, dtype=torch.float64) - own.center
            t = (offset @ normal) / (rays @ normal)
            from_point = rays * t[..., None] - offset
            along = torch.stack([from_point @ first, from_point @ second], dim=-1)
            is_hit = (t > 1e-6) & (t < z_depth) & (along.abs().amax(-1) <= plane.half_width)
            z_depth = torch.where(is_hit, t, z_depth)
            image = torch.where(is_hit[..., None], plane.color(along), image)
            labels = torch.where(is_hit, number, labels)
        is_valid = torch.isfinite(z_depth)
        z_depth = torch.where(is_valid, z_depth, torch.nan).to(torch.float32)
        return Frame(
            image=image.permute(2, 0, 1).to(torch.float32).contiguous(),
            is_valid=is_valid,
            camera=camera.resized(size),
            z_depth=z_depth if self.has_depth else None,
            labels=labels,
            instances=labels.clone(),
        )

    def content_digest(self) -> str:
        own = [self.own.K.tolist(), self.own.w2c.tolist(), self.own.size.height, self.own.size.width]
        planes = [repr(dataclasses.astuple(plane)) for plane in self.planes]
        return digest({"planes": planes, "own": own, "depth": self.has_depth})


def pinhole(size: ImageSize = _SMALL, w2c: Float[Tensor, "4 4"] | None = None) -> Camera:
    """A camera of about 60° with its principal point off the centre; at the origin, along +z, unless told."""
    focal = 0.87 * size.width
    K = [[focal, 0.0, 0.515 * size.width], [0.0, 1.01 * focal, 0.48 * size.height], [0.0, 0.0, 1.0]]
    pose = torch.eye(4, dtype=torch.float64) if w2c is None else w2c
    return Camera(torch.tensor(K, dtype=torch.float64), pose, size)


def row_of_cameras(view_count: int, baseline: float, size: ImageSize = _SMALL) -> list[Camera]:
    """Cameras side by side, looking along +z, ``baseline`` apart, with a little up and down."""
    cameras = []
    for number in range(view_count):
        w2c = torch.eye(4, dtype=torch.float64)
        w2c[0, 3] = -baseline * (number - (view_count - 1) / 2)
        w2c[1, 3] = 0.3 * baseline * (number % 2)
        cameras.append(pinhole(size, w2c))
    return cameras


def planes_scene(planes: tuple[Plane, ...], cameras: list[Camera], has_depth: bool = True) -> Scene:
    """A scene of planes seen by cameras; its depth range is that of what they see."""
    views = tuple(
        View(f"{number:04d}", camera, PlanesFrame(planes, camera, has_depth)) for number, camera in enumerate(cameras)
    )
    depths = [PlanesFrame(planes, camera).load(camera, camera.size).z_depth for camera in cameras]
    seen = torch.cat([z[torch.isfinite(z)] for z in depths if z is not None])
    return Scene(
        id="planes",
        location="memory:planes",
        views=views,
        depth_range=DepthRange(0.9 * float(seen.min()), 1.1 * float(seen.max())),
        label_names={number: f"plane{number}" for number in range(len(planes))},
    )


def textured_plane_scene(
    view_count: int = 5,
    size: ImageSize = _SMALL,
    *,
    slant: float = 0.0,
    baseline: float = 0.12,
    seed: int = 0,
    has_depth: bool = True,
) -> Scene:
    """One plane 2 units ahead (``slant``: tangent of its tilt) seen by translated cameras: homographies."""
    plane = Plane(normal=(slant, 0.0, -1.0), seed=seed)
    return planes_scene((plane,), row_of_cameras(view_count, baseline, size), has_depth)


def two_planes_scene(
    view_count: int = 5,
    size: ImageSize = _SMALL,
    *,
    baseline: float = 0.12,
    seed: int = 0,
    has_depth: bool = True,
) -> Scene:
    """A card 1.5 units ahead that hides part of a plane 3 units ahead. Labels: 0 the card, 1 the plane."""
    card = Plane(point=(0.0, 0.0, 1.5), seed=seed, half_width=0.35, shortest_wave=0.18)
    wall = Plane(point=(0.0, 0.0, 3.0), seed=seed + 1, shortest_wave=0.36)
    return planes_scene((card, wall), row_of_cameras(view_count, baseline, size), has_depth)


@dataclass(frozen=True, slots=True, eq=False)
class BallFrame:
    """A view of a textured ball of radius 1 at the origin; beside it there is nothing, or what a mask hides."""

    own: Camera
    is_transparent: bool = True
    has_depth: bool = True
    has_labels: ClassVar[bool] = False

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        own = self.own.resized(size)
        uv = cell_centers(size.height, size.width).to(torch.float64)
        rays = directions_z1(uv, own.K) @ own.w2c[:3, :3]
        along, length2 = rays @ own.center, rays.square().sum(-1)
        root = along.square() - length2 * (own.center @ own.center - 1)
        is_hit = root > 0
        z_depth = torch.where(is_hit, (-along - root.clamp(min=0).sqrt()) / length2, torch.nan)
        points = own.center + rays * z_depth.nan_to_num(0.0)[..., None]
        rng = np.random.default_rng(5)
        waves, shares = torch.tensor(8 * rng.normal(size=(3, 16))), torch.tensor(rng.normal(size=(16, 3)))
        image = torch.where(is_hit[..., None], 0.5 + 0.49 * torch.tanh((points @ waves).sin() @ shares / 2), 0.0)
        return Frame(
            image=image.permute(2, 0, 1).float().contiguous(),
            is_valid=is_hit,
            camera=camera.resized(size),
            z_depth=z_depth.float() if self.has_depth else None,
            is_empty=~is_hit if self.is_transparent else None,
        )

    def content_digest(self) -> str:
        return digest({"w2c": self.own.w2c.tolist(), "empty": self.is_transparent, "depth": self.has_depth})


def ball_scene(
    view_count: int = 10,
    size: ImageSize = _SMALL,
    *,
    step_deg: float = 36.0,
    rise: float = 1.2,
    is_transparent: bool = True,
    has_depth: bool = True,
) -> Scene:
    """A ball from cameras on a circle around it, by ``rise`` above and below its middle in turn."""
    views = []
    for number in range(view_count):
        angle = np.radians(step_deg * number)
        center = torch.tensor([3 * np.sin(angle), -3 * np.cos(angle), rise * (-1.0) ** number], dtype=torch.float64)
        camera = pinhole(size, look_at(center, torch.zeros(3, dtype=torch.float64)))
        views.append(View(f"{number:04d}", camera, BallFrame(camera, is_transparent, has_depth)))
    return Scene(id="ball", location="memory:ball", views=tuple(views), depth_range=DepthRange(1.5, 5.0))


def moved_scene(scene: Scene, world2new: Float[Tensor, "4 4"]) -> Scene:
    """The same scene after a rigid motion of the world: pixels stay, cameras and points move."""
    new2world = torch.linalg.inv(world2new)
    views = tuple(
        View(view.id, dataclasses.replace(view.camera, w2c=view.camera.w2c @ new2world), view.source)
        for view in scene.views
    )
    points = scene.points
    if points is not None:
        points = (points.double() @ world2new[:3, :3].T + world2new[:3, 3]).to(points.dtype)
    return dataclasses.replace(scene, views=views, points=points)


def moved_camera(camera: Camera, world2new: Float[Tensor, "4 4"], factor: float) -> Camera:
    """The same camera in a world that is moved, then made larger."""
    w2c = camera.w2c @ torch.linalg.inv(world2new)
    w2c[:3, 3] *= factor
    return dataclasses.replace(camera, w2c=w2c)


def some_motion() -> Float[Tensor, "4 4"]:
    left, _ = torch.linalg.qr(torch.tensor([[0.3, -0.8, 0.4], [0.9, 0.2, -0.3], [0.1, 0.5, 0.8]], dtype=torch.float64))
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3] = left * torch.sign(torch.linalg.det(left))
    motion[:3, 3] = torch.tensor([0.7, -1.3, 2.1], dtype=torch.float64)
    return motion
