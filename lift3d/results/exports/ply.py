"""Points and triangles as PLY, binary and little endian: what MeshLab, CloudCompare, Blender and Open3D open."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, Shaped
from plyfile import PlyData, PlyElement

from lift3d.domain.lifted import LiftedView
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.errors import NoOverlapError
from lift3d.pipeline.decode import COVERED
from lift3d.results.cloud import Cloud, map_under, read_points, scene_cloud, surface_of
from lift3d.results.colours import Picture, to_bytes
from lift3d.results.exports.files import world_words
from lift3d.results.lifted_scene import LiftedScene
from lift3d.surface.cloud import SurfacePoints
from lift3d.surface.triangles import Mesh, surface_mesh

# About 40 MB, and what desktop viewers turn smoothly.
MOST_POINTS = 1_000_000
# Spots of a mesh, about a fourth of its vertices: a minute on one core, half a gigabyte while it is made.
MOST_SPOTS = 200_000
# Of an embedding, so many features go into the file; tables of points with hundreds of columns open nowhere.
MOST_FEATURES = 8
# Of vertices that no view sees.
_UNSEEN_GREY = 170
# Positions that float would round by more than this share of the cloud's extent are written as doubles.
_LARGEST_ROUNDING = 1e-5

# Of points, by the names of their properties.
Columns = dict[str, Shaped[np.ndarray, " point"]]


def export_ply(lifted: LiftedScene, out: Path) -> list[str]:
    """Write the points of the surface in the colours of their predictions, and return what there is to say."""
    cloud = some_cloud(lifted, MOST_POINTS)
    columns, frame = in_own_colours(lifted, cloud), world_words(lifted)
    write_ply(out, cloud, columns, [_title(lifted), frame])
    return [f"{len(cloud)} points with x, y, z, nx, ny, nz, {', '.join(columns)}", frame]


def some_cloud(lifted: LiftedScene, most: int) -> Cloud:
    """Return the points of the surface, of which there must be some."""
    cloud = scene_cloud(lifted, most)
    if not len(cloud):
        raise NoOverlapError(
            f"No view of '{lifted.name}' shows a surface: '{lifted.operator}' under '{lifted.lifter}' has no cell of "
            f"coverage {COVERED} or more with depth that other views agree on."
        )
    return cloud


def export_mesh(lifted: LiftedScene, out: Path) -> list[str]:
    """Write the triangles of the surface in the colours of the predictions, and return what there is to say."""
    mesh, cloud, columns = coloured_mesh(lifted)
    frame = world_words(lifted)
    write_ply(out, cloud, columns, [_title(lifted), frame], mesh.faces)
    unseen = int((cloud.view < 0).sum())
    said = f"{len(mesh.xyz)} vertices, {len(mesh.faces)} triangles, with {', '.join(columns)}"
    return [said, frame, *([f"grey, since no lifted view sees them: {unseen} of the vertices"] if unseen else [])]


def coloured_mesh(lifted: LiftedScene) -> tuple[Mesh, Cloud, Columns]:
    """Return the triangles of the surface, their vertices as points, and what was predicted there; NoOverlapError."""
    surface = surface_of(lifted)
    mesh = surface_mesh(surface, MOST_SPOTS)
    if not len(mesh.faces):
        raise NoOverlapError(
            f"The surface of '{lifted.name}' has no piece that is large enough for triangles; expected views that "
            "agree on depth. Export points (--format ply) to see what there is."
        )
    cloud = read_points(lifted, surface, SurfacePoints(mesh.xyz, mesh.normals, 0.0, len(mesh.xyz)))
    return mesh, cloud, in_own_colours(lifted, cloud)


def in_own_colours(lifted: LiftedScene, cloud: Cloud, most_features: int | None = MOST_FEATURES) -> Columns:
    """Return what was predicted at points, in the colours of the report."""
    return predicted_columns(lifted, cloud, lambda view: lifted.colours.picture(view.prediction), most_features)


def _title(lifted: LiftedScene) -> str:
    return f"lift3d: {lifted.name}, {lifted.operator}, {lifted.lifter}"


def predicted_columns(
    lifted: LiftedScene,
    cloud: Cloud,
    paint: Callable[[LiftedView], Picture],
    most_features: int | None = MOST_FEATURES,
) -> Columns:
    """Return what was predicted at points: label, value, or feature_0 and on; grey, −1 and NaN where nothing was.

    Colours are those of the pictures, of any size, that ``paint`` gives. Of an embedding, at most so many features.
    """
    columns: Columns = {}
    for number, view in enumerate(lifted.views()):
        own, grids = (cloud.view == number).numpy(), [one.features.grid for one in view.lifted]
        uv = cloud.uv[torch.from_numpy(own)]
        rgb = map_under(to_bytes(paint(view)), view.camera, grids, uv)
        found = dict(zip(("red", "green", "blue"), rgb.T, strict=True))
        found |= {name: map_under(one, view.camera, grids, uv) for name, one in _predicted(view, most_features).items()}
        for name, values in found.items():
            missing = {"u": _UNSEEN_GREY, "i": UNKNOWN_LABEL}.get(values.dtype.kind, np.nan)
            columns.setdefault(name, np.full(len(cloud), missing, dtype=values.dtype))[own] = values
    return columns


def write_ply(
    out: Path,
    cloud: Cloud,
    columns: Columns,
    comments: Sequence[str],
    faces: Int[torch.Tensor, "face 3"] | None = None,
) -> None:
    """Write a cloud, or the vertices and faces of a mesh; comments are put into ASCII, a line each."""
    xyz = cloud.xyz.numpy()
    rounding = float(np.abs(xyz).max()) * np.finfo(np.float32).eps / 2
    position = "<f8" if rounding > _LARGEST_ROUNDING * float(np.ptp(xyz, axis=0).max()) else "<f4"
    given: Columns = {
        **dict(zip("xyz", xyz.T.astype(position), strict=True)),
        **dict(zip(("nx", "ny", "nz"), cloud.normals.numpy().T.astype("<f4"), strict=True)),
        **{name: values.astype(values.dtype.newbyteorder("<")) for name, values in columns.items()},
    }
    points = np.empty(len(xyz), dtype=[(name, values.dtype) for name, values in given.items()])
    for name, values in given.items():
        points[name] = values
    lines = [" ".join(one.encode("ascii", "backslashreplace").decode().split()) for one in comments]
    elements = [PlyElement.describe(points, "vertex")]
    if faces is not None:
        triangles = np.empty(len(faces), dtype=[("vertex_indices", "<i4", (3,))])
        triangles["vertex_indices"] = faces.numpy()
        elements.append(PlyElement.describe(triangles, "face"))
    PlyData(elements, byte_order="<", comments=lines).write(str(out))


def _predicted(view: LiftedView, most_features: int | None) -> dict[str, Shaped[np.ndarray, "row col"]]:
    """Return maps of what was predicted, in types that PLY has; of pictures that is their colour alone."""
    prediction, values = view.prediction, view.prediction.values
    if prediction.kind == "labels":
        return {"label": values.int().numpy()}
    if prediction.kind == "masks":
        return {"label": values.argmax(0).int().numpy()}
    if prediction.kind == "scalar":
        return {"value": values.float().numpy()}
    if prediction.kind == "embedding":
        return {f"feature_{index}": one.float().numpy() for index, one in enumerate(values[:most_features])}
    return {}
