"""A cloud of points as PLY, binary and little endian: what MeshLab, CloudCompare, Blender and Open3D open.

Written by numpy: libraries at hand write neither further columns of points without faces, nor comments, nor doubles.
"""

from pathlib import Path

import numpy as np

from lift3d.results.export_points import PointCloud, fuse_points, world_words
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.steady_pictures import SteadyPictures

# About 200 MB, and what desktop viewers turn smoothly.
MOST_POINTS = 5_000_000
_TYPES = {"f4": "float", "f8": "double", "u1": "uchar", "i4": "int"}
# Positions that float would round by more than this share of the cloud's extent are written as doubles.
_LARGEST_ROUNDING = 1e-5


def export_ply(lifted: LiftedScene, out: Path) -> list[str]:
    """Write the points of all views in the colours of their predictions, and return what there is to say.

    Raises:
        NoOverlapError: If no view has a surface.
    """
    pictures = SteadyPictures(lifted)
    cloud = fuse_points(lifted, lambda view: pictures.of(view.prediction), MOST_POINTS)
    title = f"{lifted.name}, {lifted.operator}, {lifted.lifter}"
    frame = world_words(lifted)
    write_ply(out, cloud, [f"lift3d: {title}", frame])
    said = [f"{len(cloud.xyz)} points with {', '.join(_columns(cloud).dtype.names or ())}", frame]
    if cloud.left_out_count:
        said.append(f"{cloud.left_out_count} further points were left out, evenly: the bound is {MOST_POINTS}")
    return said


def write_ply(out: Path, cloud: PointCloud, comments: list[str]) -> None:
    """Write a cloud; comments are put into ASCII, a line each."""
    columns = _columns(cloud)
    kinds = [(name, _TYPES[columns.dtype[name].str[1:]]) for name in columns.dtype.names or ()]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {' '.join(one.encode('ascii', 'backslashreplace').decode().split())}" for one in comments),
        f"element vertex {len(columns)}",
        *(f"property {kind} {name}" for name, kind in kinds),
        "end_header",
    ]
    with out.open("wb") as stream:
        stream.write(("\n".join(header) + "\n").encode("ascii"))
        columns.tofile(stream)


def _columns(cloud: PointCloud) -> np.ndarray:
    extent = float(np.ptp(cloud.xyz, axis=0).max())
    rounding = float(np.abs(cloud.xyz).max()) * np.finfo(np.float32).eps / 2
    position = "<f8" if rounding > _LARGEST_ROUNDING * extent else "<f4"
    given = {
        **dict(zip("xyz", cloud.xyz.T.astype(position), strict=True)),
        **dict(zip(("nx", "ny", "nz"), cloud.normals.T.astype("<f4"), strict=True)),
        **dict(zip(("red", "green", "blue"), cloud.rgb.T, strict=True)),
        **{name: values.astype(values.dtype.newbyteorder("<")) for name, values in cloud.values.items()},
    }
    columns = np.empty(len(cloud.xyz), dtype=[(name, values.dtype) for name, values in given.items()])
    for name, values in given.items():
        columns[name] = values
    return columns
