"""Whether a surface that was made elsewhere is where the views' own evidence is: one frame, one unit, one place.

Letters: a witness is a place of a view whose depth is known otherwise: from its sensor, else from triangulated points.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry
from lift3d.errors import NoOverlapError, SceneFormatError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells

# Depths that differ by less than this share are of one surface, however coarse.
_CLOSE = 0.05
# Of the witnesses where there is a surface, so many must lie on it: occluders that a mesh lacks do not.
_LEAST_SHARE = 0.3
# Fewer are none: whatever fits so few fits anything.
_FEWEST = 20
_PITCH_PX = 16.0
# What a surface may have been scaled by: units of length, and a rough power of ten.
_UNITS = (1000.0, 100.0, 39.3701, 10.0, 3.28084, 0.3048, 0.1, 0.0254, 0.01, 0.001)
_MOST_WITNESSES, _MOST_POINTS = 1000, 20_000


@dataclass(frozen=True, slots=True, eq=False)
class _Witnesses:
    """Pixels and z-depth per view, where known."""

    uv: Float[Tensor, "witness 2"]
    z_depth: Float[Tensor, " witness"]


def require_fit(
    found: SceneGeometry,
    views: Sequence[SourceGuide],
    depth_range: DepthRange,
    find_tracks: Callable[[], Tracks],
    what: str,
    points: Float[Tensor, "point 3"] | None = None,
) -> SceneGeometry:
    """Return the geometry of a file; SceneFormatError if no view sees it or it contradicts what views know of depth.

    That is their sensors' depth; if none has any, ``find_tracks`` is asked; with too few tracks, the range is all that
    is known. ``what`` names the file in messages; points of its surface, world coordinates, tell which other unit or
    axes it would fit in.
    """
    seen = sum(int(torch.isfinite(view.z_depth).sum()) for view in found.views.values())
    witnesses = _of_sensors(views) or _of_tracks(views, find_tracks)
    claimed = agreeing = 0
    for name, one in witnesses.items():
        view = found.views[name]
        cell = nearest_cells(one.uv, *view.grid.lattice)
        z = torch.where(cell >= 0, view.z_depth.reshape(-1)[cell.clamp(min=0)], torch.nan)
        claimed += int(torch.isfinite(z).sum())
        agreeing += int(((z / one.z_depth - 1).abs() < _CLOSE).sum())
    total = sum(len(one.z_depth) for one in witnesses.values())
    said = f"has a surface at {claimed} of {total} places whose depth is known, near that depth at {agreeing}"
    if total < _FEWEST:
        # Without witnesses, all that is known is how far away things may be.
        claimed, agreeing = seen, _within(found, depth_range)
        said = f"is at {seen - agreeing} of {seen} places outside the scene's range of depth"
    if seen and claimed >= min(_FEWEST, seen) and agreeing >= _LEAST_SHARE * claimed:
        return found
    remedy = _what_would_fit(points, views, witnesses) if points is not None and witnesses else ""
    raise SceneFormatError(
        f"'{what}' does not fit the views: it {said if seen else 'lies where none of them sees anything'}. "
        + (remedy or "Bring it into the world of the scene's cameras, in their unit, or name another geometry.")
    )


def _within(found: SceneGeometry, depth_range: DepthRange) -> int:
    z_depth = torch.cat([view.z_depth.reshape(-1) for view in found.views.values()])
    return int(((z_depth > depth_range.near) & (z_depth < depth_range.far)).sum())


def _of_sensors(views: Sequence[SourceGuide]) -> Mapping[ViewId, _Witnesses]:
    """Return depth on a sparse lattice; nothing if no view has any."""
    witnesses = {}
    for view in views:
        if view.z_depth is not None:
            size = view.camera.size
            uv = cell_centers(*FeatureGrid.covering(size, _PITCH_PX).lattice).reshape(-1, 2)
            at = nearest_cells(uv, size.height, size.width)
            z = torch.where(view.is_valid, view.z_depth, torch.nan).reshape(-1)[at]
            is_known = torch.isfinite(z) & (z > 0)
            if bool(is_known.any()):
                witnesses[view.id] = _Witnesses(uv[is_known], z[is_known])
    return witnesses


def _of_tracks(views: Sequence[SourceGuide], find_tracks: Callable[[], Tracks]) -> Mapping[ViewId, _Witnesses]:
    """Return triangulated points where views observe them; nothing if there are too few."""
    try:
        tracks = find_tracks()
    except NoOverlapError:
        return {}
    by_id, witnesses = {view.id: view for view in views}, {}
    for index, name in enumerate(tracks.view_ids):
        is_here = tracks.view_index == index
        xyz = transform(by_id[name].camera.w2c, tracks.points[tracks.point_index[is_here]].double())
        witnesses[name] = _Witnesses(tracks.uv[is_here].float(), xyz[:, 2].float())
    return witnesses


def _what_would_fit(
    points: Float[Tensor, "point 3"], views: Sequence[SourceGuide], witnesses: Mapping[ViewId, _Witnesses]
) -> str:
    """Return a sentence on the unit or the axes in which most witnesses would lie on the surface; empty if in none."""
    known = [(view, witnesses[view.id]) for view in sorted(views, key=lambda view: view.id) if view.id in witnesses]
    own = [unproject(one.uv.double(), one.z_depth.double(), view.camera.K) for view, one in known]
    xyz = torch.cat([transform(view.camera.c2w, one) for (view, _), one in zip(known, own, strict=True)])
    reach = _CLOSE * torch.cat([one.z_depth for _, one in known]).double()
    step = -(-len(xyz) // _MOST_WITNESSES)
    places, reaches = xyz[::step].numpy(force=True), reach[::step].numpy(force=True)
    tree = cKDTree(points[:: -(-len(points) // _MOST_POINTS)].numpy(force=True))
    # Units first: where both would do, nothing was turned.
    turns = Rotation.create_group("O").as_matrix().round()
    tried = [(unit, np.eye(3)) for unit in _UNITS] + [(1.0, axes) for axes in turns]
    shares = [float((tree.query(places @ axes / unit)[0] * unit < reaches).mean()) for unit, axes in tried]
    best = int(np.argmax(shares))
    if shares[best] < max(0.5, 2 * float((tree.query(places)[0] < reaches).mean())):
        return ""
    unit, axes = tried[best]
    if unit != 1:
        return f"Scaled by {unit:g} it would fit: it is in another unit. Export it in the unit of the scene's cameras."
    names = ("x", "y", "z")
    turned = [f"{'-' if row.sum() < 0 else ''}{names[int(np.abs(row).argmax())]}" for row in axes]
    return f"With its axes turned to ({', '.join(turned)}) it would fit. Export it in the frame of the scene's cameras."
