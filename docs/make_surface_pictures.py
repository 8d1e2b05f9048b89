"""Make the pictures of docs/inside/surface.md, all of computed scenes: ``python docs/make_surface_pictures.py``.

- surface_strip.webp: neighbouring views, what a 2D model paints of each alone, and the same on the surface.
- surface_seams.webp: one view read from the owners alone, and with two bands.
- surface_shapes.webp: cloud and triangles of the scene from where no camera stands.
"""

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

import lift3d
from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.geometry.projection import project
from lift3d.geometry.rigid import look_at, transform
from lift3d.lifters.blend import blend
from lift3d.results.cloud import Cloud, read_points, surface_of
from lift3d.results.colours import Picture
from lift3d.results.exports.ply import predicted_columns
from lift3d.results.lifted_scene import LiftedScene
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import owner_weights, used_sources
from lift3d.surface.cloud import SurfacePoints, surface_points
from lift3d.surface.triangles import surface_mesh

PICTURES = Path(__file__).parent / "pictures"
# Seeds from 9000 on are those that no training saw.
SCENE = "procedural:tabletop?seed=9001&views=20&height=144&width=192&spacing=2"
STORE = "runs/pictures"
PAINTER = "tiny:style"
# Views of the strip, and the one whose seams are shown.
SHOWN, SPOT = slice(8, 12), 10
# From above and aside of the orbit.
EYE, LOOKS_AT = (1.5, -1.0, 2.1), (0.0, 0.0, 0.75)
SIZE = ImageSize(360, 480)
_SAMPLES = 1_500_000
_GREY = 225.0


def main() -> None:
    """Write all pictures."""
    painted, photographs = (
        lift3d.lift(SCENE, operator, "anchored", store=STORE, image_height=144) for operator in (PAINTER, "rgb")
    )
    draw_strip(painted, PICTURES / "surface_strip.webp")
    draw_seams(painted, PICTURES / "surface_seams.webp")
    draw_shapes(photographs, PICTURES / "surface_shapes.webp")


def draw_strip(lifted: LiftedScene, path: Path) -> None:
    """Write a row of plain answers of neighbouring views above the lifted ones."""
    rows: dict[str, list[Picture | None]] = {"2D: every view alone": [], "on the surface": []}
    for target in lifted.targets[SHOWN]:
        pictures = lifted.pictures(target, columns=("2D", "lifted"))
        for row, name in zip(rows.values(), ("2D", "lifted"), strict=True):
            row.append(pictures[name])
    draw_rows([[*row] for row in rows.values()], list(rows), path)


def draw_seams(lifted: LiftedScene, path: Path) -> None:
    """Write a view as its owners alone paint it, and as they do with the coarse band of all witnesses."""
    target, surface = lifted.targets[SPOT], surface_of(lifted)
    camera = lifted.view(target).camera
    anchored = Anchored().anchor(surface, camera, surface.ids, 32)
    weights = used_sources(owner_weights(anchored, FeatureGrid.covering(camera.size, 1.0)))
    maps = []
    for name in weights.source_ids:
        plain = lifted.plain(name)
        if plain is None:
            raise SystemExit(f"The run has no 2D answer of view '{name}'.")
        maps.append(FeatureMap(plain.prediction.values, FeatureGrid.covering(plain.camera.size, 1.0)))
    owners = blend(weights, maps).features.values.nan_to_num(1.0).clamp(0, 1)
    both = lifted.view(target).prediction.values
    pictures = [one.permute(1, 2, 0).numpy() for one in (owners, both)]
    titles = ["one band: the owner of each place", "two bands: coarse colours of all views"]
    draw_rows([list(pictures)], [""], path, titles)


def draw_shapes(lifted: LiftedScene, path: Path) -> None:
    """Write the cloud, and the triangles in colour and in grey, from a new place."""
    surface, camera = surface_of(lifted), _camera()
    points = surface_points(surface, 10**6)
    cloud = read_points(lifted, surface, points)
    seen = cloud.only(cloud.view >= 0)
    rgb = _colours(lifted, seen)
    mesh = surface_mesh(surface, 10**6)
    vertices = read_points(lifted, surface, SurfacePoints(mesh.xyz, mesh.normals, 0.0, len(mesh.xyz)))
    xyz, share, face = on_triangles(mesh.xyz, mesh.faces)
    painted = (_colours(lifted, vertices)[mesh.faces[face]] * share[..., None]).sum(1)
    corners = mesh.xyz[mesh.faces[face]]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
    towards = torch.nn.functional.normalize(camera.center - xyz, dim=-1)
    light = (towards * torch.nn.functional.normalize(normal, dim=-1)).sum(-1)
    faces_us = light > 0
    shaded = (_GREY * (0.3 + 0.7 * light))[:, None].expand(-1, 3)
    pictures = [
        splatted(camera, seen.xyz, rgb, 0.6 * points.spacing),
        *(splatted(camera, xyz[faces_us], colours[faces_us], 0.3 * points.spacing) for colours in (painted, shaded)),
    ]
    draw_rows([pictures], [""], path, ["cloud", "triangles", "their shape"])


def _camera() -> Camera:
    focal = 1.05 * SIZE.width
    K = torch.tensor([[focal, 0, SIZE.width / 2], [0, focal, SIZE.height / 2], [0, 0, 1]], dtype=torch.float64)
    return Camera(K, look_at(*torch.tensor([EYE, LOOKS_AT], dtype=torch.float64)), SIZE)


def _colours(lifted: LiftedScene, cloud: Cloud) -> Float[Tensor, "point 3"]:
    columns = predicted_columns(lifted, cloud, lambda view: lifted.colours.picture(view.prediction))
    return torch.from_numpy(np.stack([columns[name] for name in ("red", "green", "blue")], axis=1)).double()


def on_triangles(xyz: Float[Tensor, "vertex 3"], faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return places drawn evenly on triangles, their shares of the corners, and their faces."""
    generator = torch.Generator().manual_seed(0)
    a, b, c = (xyz[faces[:, corner]] for corner in range(3))
    area = torch.linalg.cross(b - a, c - a, dim=-1).norm(dim=1)
    face = torch.multinomial(area, _SAMPLES, replacement=True, generator=generator)
    root, along = torch.rand(2, _SAMPLES, 1, generator=generator, dtype=torch.float64)
    share = torch.cat([1 - root.sqrt(), root.sqrt() * (1 - along), root.sqrt() * along], dim=1)
    return (xyz[faces[face]] * share[..., None]).sum(1), share, face


def splatted(camera: Camera, xyz: Tensor, colours: Tensor, radius: float) -> Picture:
    """Draw squares at points, the nearest in front."""
    own = transform(camera.w2c, xyz)
    uv, is_ahead = project(own, camera.K)
    height, width = camera.size.height, camera.size.width
    reach = (radius * camera.K[0, 0] / own[:, 2]).clamp(0.5, 5.0)
    nearest = torch.full((height * width,), torch.inf, dtype=torch.float64)
    drawn = []
    for down, right in np.ndindex(11, 11):
        step = torch.tensor([right - 5.0, down - 5.0], dtype=torch.float64)
        at = torch.nonzero(is_ahead & (step.abs().max() <= reach))[:, 0]
        col, row = (uv[at] + step).floor().long().unbind(-1)
        inside = (col >= 0) & (col < width) & (row >= 0) & (row < height)
        pixel, at = (row * width + col)[inside], at[inside]
        nearest.scatter_reduce_(0, pixel, own[at, 2], "amin")
        drawn.append((pixel, at))
    picture = torch.full((height * width, 3), 255.0, dtype=torch.float64)
    for pixel, at in drawn:
        is_front = own[at, 2] <= nearest[pixel]
        picture[pixel[is_front]] = colours[at[is_front]].double()
    shown: Picture = (picture.reshape(height, width, 3) / 255).numpy()
    return shown


def draw_rows(rows: list[list[Picture | None]], names: list[str], path: Path, titles: list[str] | None = None) -> None:
    """Write pictures in rows."""
    figure = Figure(figsize=(2.75 * len(rows[0]), 2.2 * len(rows)), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for line, row, name in zip(axes, rows, names, strict=True):
        for number, (axis, picture) in enumerate(zip(line, row, strict=True)):
            if picture is not None:
                axis.imshow(np.clip(picture, 0, 1), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_ylabel(name if number == 0 else "", fontsize=9)
            axis.set_title(titles[number] if titles else "", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    Image.open(buffer).convert("RGB").save(path, quality=60, method=6)


if __name__ == "__main__":
    main()
