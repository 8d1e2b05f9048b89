"""A cloud of points as PLY, binary and little endian: what MeshLab, CloudCompare, Blender and Open3D open."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from plyfile import PlyData, PlyElement

from lift3d.domain.lifted import LiftedView
from lift3d.errors import NoOverlapError
from lift3d.pipeline.decode import COVERED
from lift3d.results.cloud import Cloud, fused, map_under
from lift3d.results.colours import Picture, to_bytes
from lift3d.results.exports.files import world_words
from lift3d.results.lifted_scene import LiftedScene

# About 200 MB, and what desktop viewers turn smoothly.
MOST_POINTS = 5_000_000
# Of an embedding, so many features go into the file; tables of points with hundreds of columns open nowhere.
MOST_FEATURES = 8
# Positions that float would round by more than this share of the cloud's extent are written as doubles.
_LARGEST_ROUNDING = 1e-5

# Of points, by the names of their properties.
Columns = dict[str, Shaped[np.ndarray, " point"]]


def export_ply(lifted: LiftedScene, out: Path) -> list[str]:
    """Write the points of all views in the colours of their predictions, and return what there is to say."""
    cloud = scene_cloud(lifted, MOST_POINTS)
    columns = predicted_columns(lifted, cloud, lambda view: lifted.colours.picture(view.prediction))
    frame = world_words(lifted)
    write_ply(out, cloud, columns, [f"lift3d: {lifted.name}, {lifted.operator}, {lifted.lifter}", frame])
    notes = [f"{len(cloud)} points with {', '.join(('x', 'y', 'z', 'nx', 'ny', 'nz', *columns))}", frame]
    if cloud.found > len(cloud):
        notes.append(f"{cloud.found - len(cloud)} further points were left out, evenly: the bound is {MOST_POINTS}")
    return notes


def scene_cloud(lifted: LiftedScene, most: int) -> Cloud:
    """Return the points of all views, of which there must be some."""
    cloud = fused(lifted.depths(), len(lifted.targets), most)
    if not len(cloud):
        raise NoOverlapError(
            f"No view of '{lifted.name}' shows a surface: '{lifted.operator}' under '{lifted.lifter}' has no cell of "
            f"coverage {COVERED} or more with depth around it."
        )
    return cloud


def predicted_columns(lifted: LiftedScene, cloud: Cloud, paint: Callable[[LiftedView], Picture]) -> Columns:
    """Return what was predicted at the points of all views: label, value, or feature_0 and on.

    Colours are those of the pictures, of any size, that ``paint`` gives.
    """
    parts: list[Columns] = []
    for number, view in enumerate(lifted.views()):
        uv, grids = cloud.uv[cloud.view == number], [one.features.grid for one in view.lifted]
        rgb = map_under(to_bytes(paint(view)), view.camera, grids, uv)
        values = {name: map_under(one, view.camera, grids, uv) for name, one in _predicted(view).items()}
        parts.append(dict(zip(("red", "green", "blue"), rgb.T, strict=True)) | values)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write_ply(out: Path, cloud: Cloud, columns: Columns, comments: Sequence[str]) -> None:
    """Write a cloud; comments are put into ASCII, a line each."""
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
    PlyData([PlyElement.describe(points, "vertex")], byte_order="<", comments=lines).write(str(out))


def _predicted(view: LiftedView) -> dict[str, Shaped[np.ndarray, "row col"]]:
    """Return maps of what was predicted, in types that PLY has; of pictures that is their colour alone."""
    prediction, values = view.prediction, view.prediction.values
    if prediction.kind == "labels":
        return {"label": values.int().numpy()}
    if prediction.kind == "masks":
        return {"label": values.argmax(0).int().numpy()}
    if prediction.kind == "scalar":
        return {"value": values.float().numpy()}
    if prediction.kind == "embedding":
        return {f"feature_{index}": one.float().numpy() for index, one in enumerate(values[:MOST_FEATURES])}
    return {}
