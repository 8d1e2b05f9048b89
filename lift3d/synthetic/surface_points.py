"""The surface points that rays end at, in the axes of their solids, with normals and faces."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.synthetic.tracing import Hits
from lift3d.synthetic.world import Shape, World, to_local


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Surface points in the axes of their solids (``xyz`` from their centres), lengths in world units.

    Faces are −x, +x, −y, +y, −z, +z; a tube has 1 around, 4 and 5 at its ends. Rays have camera z = 1.
    """

    solid: Int[Tensor, " point"]
    shape: Int[Tensor, " point"]
    face: Int[Tensor, " point"]
    xyz: Float[Tensor, "point 3"]
    z_depth: Float[Tensor, "point 1"]
    direction: Float[Tensor, "point 3"]
    normal: Float[Tensor, "point 3"]

    @classmethod
    def of(cls, world: World, camera: Camera, hits: Hits) -> "Points":
        """Find the points of rays in single precision."""
        solid, t = hits.solid.reshape(-1), hits.z_depth.reshape(-1, 1).float()
        axes, half_size, shape = world.axes32[solid], world.half_size.float()[solid], world.shape[solid]
        direction = to_local(hits.direction.reshape(-1, 3).float(), axes)
        xyz = to_local((camera.center - world.center).float(), world.axes32)[solid] + t * direction
        unit_xyz = xyz / half_size
        normal = _normals(unit_xyz, half_size, shape)
        # Normals face the viewer: a shell is seen from inside.
        normal = normal * torch.where((normal * direction).sum(-1, keepdim=True) > 0, -1.0, 1.0)
        return cls(solid, shape, _faces(unit_xyz, shape), xyz, t, direction, normal)

    def steps(
        self, world: World, camera: Camera, samples: int
    ) -> tuple[Float[Tensor, "point 3"], Float[Tensor, "point 3"]]:
        """Return how far a point moves on its tangent plane per pixel of ``samples`` rays to the right, and down."""
        slope = (self.normal * self.direction).sum(-1, keepdim=True).clamp(max=-0.02)
        axes = world.axes32[self.solid]
        right, down = (samples * camera.w2c[:2, :3] / camera.K.diagonal()[:2, None]).float()
        return self._step(right, axes, slope), self._step(down, axes, slope)

    def _step(self, turn: Float[Tensor, "3"], axes: Tensor, slope: Tensor) -> Float[Tensor, "point 3"]:
        # The point moves by t (δ − d (n·δ)/(n·d)) when the ray direction moves by δ.
        delta = to_local(turn.expand_as(self.direction), axes)
        return self.z_depth * (delta - self.direction * (self.normal * delta).sum(-1, keepdim=True) / slope)


def surface_index(world: World, camera: Camera, hits: Hits) -> Int[Tensor, "row col"]:
    """Return which of the world's surfaces each pixel shows."""
    at = hits.solid.reshape(-1)
    xyz_world = camera.center + (hits.direction * hits.z_depth[..., None]).reshape(-1, 3).to(torch.float64)
    local = to_local(xyz_world - world.center[at], world.axes[at])
    faces = _faces(local / world.half_size[at], world.shape[at])
    return (6 * at + faces).reshape(hits.solid.shape)


def unit_length(xyz: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
    """Return vectors scaled to length 1, several times faster than the general norm for three components."""
    x, y, z = xyz.unbind(-1)
    return xyz * torch.rsqrt(x * x + y * y + z * z)[:, None]


def _is_side(unit_xyz: Tensor) -> Tensor:
    x, y, z = unit_xyz.unbind(-1)
    return z.abs() < (x.square() + y.square()).sqrt()


def _faces(unit_xyz: Float[Tensor, "point 3"], shape: Int[Tensor, " point"]) -> Int[Tensor, " point"]:
    axis = unit_xyz.abs().argmax(-1)
    is_tube = shape == Shape.TUBE
    axis = torch.where(is_tube, torch.where(_is_side(unit_xyz), 0, 2), axis)
    is_positive = unit_xyz.gather(-1, axis[..., None])[..., 0] > 0
    return 2 * axis + (is_positive | (is_tube & (axis == 0))).long()


def _normals(unit_xyz: Tensor, half_size: Tensor, shape: Tensor) -> Float[Tensor, "point 3"]:
    """Outward normals."""
    face = torch.nn.functional.one_hot(unit_xyz.abs().argmax(-1), 3).to(unit_xyz)
    radial, up = unit_xyz / half_size, torch.tensor([0.0, 0, 1])
    side = torch.where(_is_side(unit_xyz)[:, None], radial * torch.tensor([1.0, 1, 0]), up)
    normal = torch.where((shape == Shape.TUBE)[:, None], side, face * unit_xyz.sign())
    return unit_length(torch.where((shape == Shape.BALL)[:, None], radial, normal))
