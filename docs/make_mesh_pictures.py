"""Make the picture of docs/how-to/mesh.md, of a computed room with plain walls: ``python docs/make_mesh_pictures.py``.

Shaded meshes from where no camera stands: of stereo, of stereo with a network and planes, of true depth.
"""

from pathlib import Path

import numpy as np
import torch
from make_surface_pictures import draw_rows, on_triangles, splatted

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import Tracks
from lift3d.domain.scene_geometry import SceneGeometry
from lift3d.errors import NoOverlapError
from lift3d.geometry.rigid import look_at
from lift3d.results.colours import Picture
from lift3d.scenes.catalog import read_scene
from lift3d.surface.catalog import build_geometry
from lift3d.surface.scene_surface import SceneSurface
from lift3d.surface.triangles import surface_mesh

SCENE = "procedural:room?seed=9000&views=24&height=120&width=160&plain=1&spacing=1.15"
METHODS = {
    "stereo": "sweep",
    "with tiny:depth and planes": "planar?prior=tiny:depth",
    "true depth": "sensor",
}
PATH = Path(__file__).parent / "pictures" / "mesh_prior.webp"
EYE, LOOKS_AT = (0.4, -1.6, 2.2), (0.0, 1.6, 0.8)
SIZE = ImageSize(330, 440)
_MOST_POINTS = 200_000


def main() -> None:
    """Write the picture."""
    scene = read_scene(SCENE)
    frames = [view.load() for view in scene.views]
    guides = [
        SourceGuide(view.id, one.camera, one.image, one.is_valid, z_depth=one.z_depth)
        for view, one in zip(scene.views, frames, strict=True)
    ]
    shown = [
        _shaded(build_geometry(method).estimate(guides, scene.depth_range, _no_tracks)) for method in METHODS.values()
    ]
    draw_rows([[*shown]], [""], PATH, [*METHODS])


def _no_tracks() -> Tracks:
    raise NoOverlapError("Pictures ask for no tracks.")


def _shaded(geometry: SceneGeometry) -> Picture:
    """Return a mesh in grey, lit from the camera; backs of triangles are not shown."""
    mesh, camera = surface_mesh(SceneSurface.of(geometry), _MOST_POINTS), _camera()
    xyz, _, face = on_triangles(mesh.xyz, mesh.faces)
    corners = mesh.xyz[mesh.faces[face]]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
    towards = torch.nn.functional.normalize(camera.center - xyz, dim=-1)
    light = (towards * torch.nn.functional.normalize(normal, dim=-1)).sum(-1)
    grey = (225 * (0.25 + 0.75 * light))[:, None].expand(-1, 3)
    picture: Picture = splatted(camera, xyz[light > 0], grey[light > 0], 0.012)
    return np.clip(picture, 0, 1)


def _camera() -> Camera:
    focal = 0.62 * SIZE.width
    K = torch.tensor([[focal, 0, SIZE.width / 2], [0, focal, SIZE.height / 2], [0, 0, 1]], dtype=torch.float64)
    return Camera(K, look_at(*torch.tensor([EYE, LOOKS_AT], dtype=torch.float64)), SIZE)


if __name__ == "__main__":
    main()
