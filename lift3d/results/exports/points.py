"""What was lifted, given to the vertices of a user's own cloud or mesh: labels, values and features, in its order."""

from pathlib import Path

import numpy as np

from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.results.cloud import read_points, surface_of
from lift3d.results.exports.files import Columns, kept_rows, world_words
from lift3d.results.exports.ply import in_own_colours
from lift3d.results.exports.splats import export_splats
from lift3d.results.lifted_scene import LiftedScene
from lift3d.scenes.ply import ply_kind
from lift3d.scenes.ply_rows import PlyRows
from lift3d.surface.cloud import SurfacePoints

_COLOURS = ("red", "green", "blue")
# Of a scan that is larger than what the views show, some at least is seen.
_LEAST_SEEN = 0.05


def export_onto(lifted: LiftedScene, out: Path, onto: Path, only: tuple[int, ...] = ()) -> list[str]:
    """Write a .ply again with what was lifted of each of its rows, and return what there is to say.

    Splats get the mean of all pixels that show them (``export_splats``); vertices of clouds and meshes what the view
    says that shows them best, if they lie on what it shows. Rows stay as they are, in their order; with ``only``, those
    of these labels alone, and the faces between them.

    Raises:
        SceneFormatError: If the file is no PLY, or its vertices are not where the views show a surface.
        ConfigError: If labels are asked for of an operator that has none, or no row has one of them.
    """
    kind = next(lifted.views()).prediction.kind
    if only and kind not in ("labels", "masks"):
        raise ConfigError(f"'{lifted.operator}' predicts {kind}, no labels; leave out --only, or export labels.")
    if ply_kind(onto) == "splats":
        return export_splats(lifted, out, onto, only)
    file = PlyRows(onto)
    points = SurfacePoints(file.xyz, file.normals, 0.0, len(file.xyz))
    cloud = read_points(lifted, surface_of(lifted), points)
    is_seen = file.in_file((cloud.view >= 0).numpy(), 0)
    if is_seen.mean() < _LEAST_SEEN:
        raise SceneFormatError(
            f"The vertices of '{onto}' lie on what the views of '{lifted.name}' show at {is_seen.mean():.0%} of them; "
            f"expected {_LEAST_SEEN:.0%} at least. They may be in another world or unit (the scene's cameras span "
            f"{_extent(lifted):.3g}, the file {float(np.ptp(points.xyz.numpy(), axis=0).max()):.3g}), or of another "
            "scene: bring them into the world of the cameras."
        )
    columns: Columns = {}
    for name, values in in_own_colours(lifted, cloud, most_features=None).items():
        missing = UNKNOWN_LABEL if values.dtype.kind == "i" else np.nan if values.dtype.kind == "f" else 0
        if name in _COLOURS:
            before = file.own(name)
            # Those of a cloud are its own, unless pictures were lifted.
            if kind == "image":
                whole = file.in_file(values, missing)
                columns[name] = whole if before is None else np.where(is_seen, whole, before).astype(whole.dtype)
        else:
            columns[name] = file.in_file(values, missing)
    kept = kept_rows(columns, only)
    frame = world_words(lifted)
    file.write(out, columns, [f"lift3d: {lifted.name}, {lifted.operator}, {lifted.lifter}", frame], kept)
    count = len(file) if kept is None else int(kept.sum())
    names = ", ".join(columns) if len(columns) < 8 else f"{next(iter(columns))} and {len(columns) - 1} more"
    said = f"{count} of {len(file)} vertices in their order, {is_seen.mean():.1%} of which are seen, with {names}"
    return [said, frame]


def _extent(lifted: LiftedScene) -> float:
    centers = np.stack([depth.camera.center.numpy() for depth in lifted.depths()])
    return float(np.ptp(centers, axis=0).max())
