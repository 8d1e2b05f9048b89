"""The triangles of the surface as glTF, one binary file: what browsers, Blender, game engines and phones open."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from lift3d.results.exports.files import world_words
from lift3d.results.exports.ply import coloured_mesh
from lift3d.results.lifted_scene import LiftedScene

if TYPE_CHECKING:
    import trimesh

# Of the mean of the cameras' tops: its length; of their horizons: mean square of how far they turn.
_LEAST_TOP, _LEAST_TURN = 0.1, 0.003
_COLOURS = ("red", "green", "blue")


def export_gltf(lifted: LiftedScene, out: Path) -> list[str]:
    """Write the mesh with colours and, as attributes of its vertices, what was predicted; return what there is to say.

    Vertices are single precision about the middle of the mesh; the matrix of its node takes them to the scene's world,
    and that upright: y is up in glTF, and up is where the tops of the cameras point.
    """
    import trimesh

    made = coloured_trimesh(lifted)
    middle = made.bounds.mean(axis=0)
    made.apply_translation(-middle)
    scene = trimesh.Scene()
    upright = _upright(lifted)
    placed = upright @ trimesh.transformations.translation_matrix(middle)
    scene.add_geometry(made, node_name="surface", geom_name="surface", transform=placed)
    words = world_words(lifted)
    scene.metadata = {"lift3d": f"{lifted.name}, {lifted.operator}, {lifted.lifter}", "world": words}
    out.write_bytes(scene.export(file_type="glb"))
    shown = ", ".join(("colours", *made.vertex_attributes))
    said = f"{len(made.vertices)} vertices, {len(made.faces)} triangles, with {shown}"
    turned = " ".join(f"{entry:.6g}" for entry in upright[:3, :3].ravel().round(9) + 0.0)
    return [said, f"{words}; in the file turned by [{turned}], so that y is up"]


def coloured_trimesh(lifted: LiftedScene) -> "trimesh.Trimesh":
    """Return the triangles of the surface in the scene's world, with normals, colours and what was predicted."""
    # Who writes something else need not wait for it.
    import trimesh

    mesh, cloud, columns = coloured_mesh(lifted)
    # Values that are no colour: names with an underscore are one's own in glTF, which has no integers of 32 bits.
    named = {f"_{name.upper()}": values.astype(np.float32) for name, values in columns.items() if name not in _COLOURS}
    return trimesh.Trimesh(
        cloud.xyz.numpy(),
        mesh.faces.numpy(),
        vertex_normals=cloud.normals.numpy(),
        vertex_colors=np.stack([columns[name] for name in _COLOURS], axis=1),
        vertex_attributes=named,
        process=False,
    )


def _upright(lifted: LiftedScene) -> Float[ndarray, "4 4"]:
    """Return the rotation that takes up to y: what is most level with no camera's horizon, on the side of their tops.

    Cameras that all look one way share a horizon; up is then where their tops point, on the mean. Of tops that cancel
    out, none is up.
    """
    axes = torch.stack([depth.camera.c2w[:3, :2] for depth in lifted.depths()])
    rights, top = axes[..., 0], -axes[..., 1].mean(0)
    if float(top.norm()) < _LEAST_TOP:
        return np.eye(4)
    spread, directions = torch.linalg.eigh(rights.T @ rights / len(rights))
    up = directions[:, 0] * (directions[:, 0] @ top).sign() if float(spread[1]) > _LEAST_TURN else top
    up = torch.nn.functional.normalize(up, dim=0)
    forward = -torch.eye(3, dtype=up.dtype)[int(up.abs().argmin())]
    z = torch.nn.functional.normalize(-(forward - (forward @ up) * up), dim=0)
    rows = torch.stack([torch.linalg.cross(up, z), up, z])
    matrix: Float[ndarray, "4 4"] = np.eye(4)
    matrix[:3, :3] = rows.numpy()
    return matrix
