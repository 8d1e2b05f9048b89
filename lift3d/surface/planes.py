"""Planes in the world: how a view sees one, and the largest of them among points that are known roughly.

Letters: a plane is the points X with ``normal · X = offset``; its disparity, 1 / z_depth, is affine in a view's pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera

# Triples of points that are tried for a plane, and times that the best one is fitted again to its points.
_TRIPLES, _REFITS = 300, 5
# A triple whose points lie closer to a line than this share of their distances says nothing.
_THINNEST = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The points X with ``normal · X = offset``, world coordinates; the normal has length 1."""

    normal: Float64[ndarray, "3"]
    offset: float

    def disparity(self, camera: Camera, uv: Float[Tensor, "*place 2"]) -> Float[Tensor, "*place"]:
        """Return 1 / z_depth of the plane at pixels of a camera; not positive where it is behind, or is not met."""
        c2w = camera.c2w.numpy()
        distance = self.offset - float(self.normal @ c2w[:3, 3])
        if distance == 0:
            return torch.zeros(uv.shape[:-1])
        slope = np.linalg.inv(camera.K.numpy()).T @ (c2w[:3, :3].T @ self.normal) / distance
        a, b, c = slope.tolist()
        disparity: Tensor = a * uv[..., 0] + b * uv[..., 1] + c
        return disparity

    def moved(self, center: Float64[ndarray, "3"], by: Float64[ndarray, "3"]) -> "Plane":
        """Return the plane moved along its normal by the first number and tilted by the others, slopes, at a center."""
        across = np.cross(self.normal, np.eye(3)[int(np.abs(self.normal).argmin())])
        across /= np.linalg.norm(across)
        normal = self.normal + by[1] * across + by[2] * np.cross(self.normal, across)
        normal /= np.linalg.norm(normal)
        return Plane(normal, float(normal @ (center + by[0] * self.normal)))


def largest_plane(
    points: Float64[Tensor, "point 3"],
    weight: Float64[Tensor, " point"],
    reach: Float64[Tensor, " point"],
    generator: torch.Generator,
) -> Plane | None:
    """Return the plane within whose reach most weight lies; None if all points lie on a line.

    Source:
        Fischler & Bolles, Random sample consensus, CACM 1981; then total least squares of those within reach.
    """
    if len(points) < 3 or not float(weight.sum()) > 0:
        return None
    chosen = points[torch.multinomial(weight, 3 * _TRIPLES, replacement=True, generator=generator)].reshape(-1, 3, 3)
    one, other = chosen[:, 1] - chosen[:, 0], chosen[:, 2] - chosen[:, 0]
    normals = torch.linalg.cross(one, other)
    length = normals.norm(dim=1)
    is_plane = length > _THINNEST * one.norm(dim=1) * other.norm(dim=1)
    if not bool(is_plane.any()):
        return None
    normals = normals[is_plane] / length[is_plane, None]
    offsets = (normals * chosen[is_plane, 0]).sum(1)
    held = ((points @ normals.T - offsets).abs() < reach[:, None]).to(weight).T @ weight
    best = int(held.argmax())
    normal, offset = normals[best], offsets[best]
    for _ in range(_REFITS):
        within = weight * ((points @ normal - offset).abs() < reach)
        center = (points * within[:, None]).sum(0) / within.sum().clamp(min=1e-12)
        apart = (points - center) * within.sqrt()[:, None]
        normal = torch.linalg.eigh(apart.T @ apart).eigenvectors[:, 0]
        offset = normal @ center
    return Plane(normal.numpy(), float(offset))
