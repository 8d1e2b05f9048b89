"""The triangles of the surface for the page: one binary file in the colours of the points."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from lift3d.errors import NoOverlapError
from lift3d.surface.cloud import thinned
from lift3d.surface.triangles import mesh_at
from lift3d.viewer.surface_points import SurfaceCloud
from lift3d.viewer.transform import ViewerTransform

# Spots, about as many vertices: a few seconds once per scene, and five megabytes on the way to the browser; and before
# that, those that are there in a moment.
FINE, COARSE = 100_000, 8_000
# Of the first points, which are spread evenly, one is as near to a vertex as it takes to colour it.
_COLOURING = 3


@dataclass(frozen=True, slots=True, eq=False)
class PageMesh:
    """Triangles in the world, and the point of the cloud that is nearest to each vertex."""

    xyz: Float[Tensor, "vertex 3"]
    faces: Int[Tensor, "face 3"]
    point: Int[Tensor, " vertex"]

    @classmethod
    def of(cls, surface: SurfaceCloud, most: int) -> "PageMesh":
        """Triangulate at so many spots; NoOverlapError if nothing is large enough for triangles.

        Few spots are told by the views that own the surface.
        """
        from scipy.spatial import cKDTree

        scene, xyz = surface.surface, surface.cloud.xyz.double()
        spots, spacing = thinned(xyz, surface.spacing, scene.views[0].camera.w2c, most)
        mesh = mesh_at(scene, spots, spacing, range(len(scene.views)) if most > COARSE else scene.keyframes)
        if not len(mesh.faces):
            raise NoOverlapError("No piece of this surface is large enough for triangles; points show what there is.")
        _, near = cKDTree(xyz[: _COLOURING * len(mesh.xyz)].numpy()).query(mesh.xyz.numpy())
        return cls(mesh.xyz, mesh.faces, torch.from_numpy(near))

    def to_glb(self, to_page: ViewerTransform, colours: UInt8[Tensor, "point 3"], is_shown: Tensor) -> bytes:
        """Return the triangles whose points are shown, in page coordinates, in colours that no light changes."""
        import trimesh
        from trimesh.exchange.gltf import export_glb

        faces = self.faces[is_shown[self.point][self.faces].all(1)]
        made = trimesh.Trimesh(
            to_page(self.xyz).float().numpy(),
            faces.numpy(),
            vertex_colors=_linear(colours[self.point].numpy()),
            process=False,
        )
        scene = trimesh.Scene(made)
        return bytes(export_glb(scene, include_normals=False, tree_postprocessor=_unlit))


def _linear(srgb: UInt8[np.ndarray, "vertex 3"]) -> UInt8[np.ndarray, "vertex 3"]:
    """Return colours as files of this kind mean them: in proportion to light."""
    share = np.arange(256) / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    table: UInt8[np.ndarray, " level"] = np.rint(255 * light).astype(np.uint8)
    linear: UInt8[np.ndarray, "vertex 3"] = table[srgb]
    return linear


def _unlit(tree: dict[str, object]) -> None:
    """Give everything a material that is the colour of its vertices, whatever light there is, from both sides."""
    material = {"extensions": {"KHR_materials_unlit": {}}, "doubleSided": True, "pbrMetallicRoughness": {}}
    tree["extensionsUsed"], tree["materials"] = ["KHR_materials_unlit"], [material]
    for mesh in tree["meshes"]:  # type: ignore[attr-defined]
        for part in mesh["primitives"]:
            part["material"] = 0
