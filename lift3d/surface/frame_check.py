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
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.errors import NoOverlapError, SceneFormatError
from lift3d.geometry.projection import unproject
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells

# Depths that differ by less than this share are of one surface, however coarse.
_CLOSE = 0.05
# Of the witnesses where there is a surface, so many must lie on it: occluders that a mesh lacks do not.
_LEAST_SHARE = 0.3
# Where it is at fewer of all witnesses, other units and axes are tried: a part of the scene fits better in none.
_USUAL_SHARE = 0.5
# Fewer are none: whatever fits so few fits anything.
_FEWEST = 20
# Distances along rays differ from z where rays are longer than this; there, depths of one kind differ by less.
_OBLIQUE, _EXACT = 1.04, 0.02
_PITCH_PX = 16.0
# What a surface may have been scaled by: units of length, and a rough power of ten.
_UNITS = (1000.0, 100.0, 39.3701, 10.0, 3.28084, 0.3048, 0.1, 0.0254, 0.01, 0.001)
_MOST_WITNESSES, _MOST_POINTS = 1000, 20_000


@dataclass(frozen=True, slots=True, eq=False)
class _Witnesses:
    """Pixels and z-depth per view, where known."""

    uv: Float[Tensor, "witness 2"]
    z_depth: Float[Tensor, " witness"]


@dataclass(frozen=True, slots=True, eq=False)
class ReadSurface:
    """What a file shows: to every view, and as points of the surface in its world, if it has any.

    ``reads_rays`` tells of depth maps of the views whether they were read as distances along rays; None of all else.
    """

    views: Mapping[ViewId, ViewGeometry]
    points: Float[Tensor, "point 3"] | None = None
    reads_rays: bool | None = None


def require_fit(
    found: ReadSurface,
    views: Sequence[SourceGuide],
    depth_range: DepthRange,
    find_tracks: Callable[[], Tracks],
    what: str,
) -> None:
    """Refuse, by SceneFormatError, a surface that no view sees, or that contradicts what views know of depth.

    That is their sensors' depth; if none has any, ``find_tracks`` is asked; with too few tracks, the range is all that
    is known. ``what`` names the file in messages, which tell in which other unit or axes it would fit. Depth maps are
    refused, too, if they fit better as distances along rays than as z, or the other way.
    """
    seen = sum(int(torch.isfinite(view.z_depth).sum()) for view in found.views.values())
    witnesses = _of_sensors(views) or _of_tracks(views, find_tracks)
    ratio, length = _compared(found.views, witnesses)
    claimed, agreeing = len(ratio), int(((ratio - 1).abs() < _CLOSE).sum())
    total = sum(len(one.z_depth) for one in witnesses.values())
    said = f"has a surface at {claimed} of {total} places whose depth is known, near that depth at {agreeing}"
    if total < _FEWEST:
        # Without witnesses, all that is known is how far away things may be.
        claimed, agreeing = seen, _within(found.views, depth_range)
        said = f"is at {seen - agreeing} of {seen} places outside the scene's range of depth"
    fits = bool(seen) and claimed >= min(_FEWEST, seen) and agreeing >= _LEAST_SHARE * claimed
    remedy = ""
    if found.reads_rays is not None and total >= _FEWEST:
        remedy = _how_maps_would_fit(ratio, length, reads_rays=found.reads_rays, fits=fits)
    elif (not fits or agreeing < _USUAL_SHARE * total) and found.points is not None and witnesses:
        remedy = _what_would_fit(found.points, views, witnesses)
    if not fits or remedy:
        said = f"it {said if seen else 'lies where none of them sees anything'}"
        raise SceneFormatError(
            f"'{what}' does not fit the views. {remedy} As it is, {said}."
            if remedy
            else f"'{what}' does not fit the views: {said}. Bring it into the world of the scene's cameras, in their "
            "unit, or name another geometry."
        )


def _compared(
    views: Mapping[ViewId, ViewGeometry], witnesses: Mapping[ViewId, _Witnesses]
) -> tuple[Float[Tensor, " place"], Float[Tensor, " place"]]:
    """Return a surface's depth at witnesses as a multiple of theirs, and the lengths of their rays, whose z is 1."""
    ratios, lengths = ([torch.empty(0, device="cpu")] for _ in range(2))
    for name, one in witnesses.items():
        view = views[name]
        cell = nearest_cells(one.uv, *view.grid.lattice)
        z = torch.where(cell >= 0, view.z_depth.reshape(-1)[cell.clamp(min=0)], torch.nan)
        ratio = (z / one.z_depth).float().cpu()
        is_there = torch.isfinite(ratio)
        ratios.append(ratio[is_there])
        lengths.append(directions_z1(one.uv.double(), view.camera.K).norm(dim=-1).float().cpu()[is_there])
    return torch.cat(ratios), torch.cat(lengths)


def _how_maps_would_fit(
    ratio: Float[Tensor, " place"], length: Float[Tensor, " place"], *, reads_rays: bool, fits: bool
) -> str:
    """Return a sentence on the unit, or the kind of depth, in which maps would fit far better; empty if in none."""
    # What is read as z and is none is too far by the length of its ray, what is read as distance and is z too near.
    turned = ratio * length if reads_rays else ratio / length
    oblique = length > _OBLIQUE

    def share(of: Float[Tensor, " place"], tolerance: float) -> float:
        return float(((of - 1).abs() < tolerance).float().mean()) if len(of) else 0.0

    other = ("z-depth", "leave '&ray=1' away") if reads_rays else ("the distance along the ray", "add '&ray=1'")
    own, else_ = (share(one[oblique], _EXACT) for one in (ratio, turned))
    if int(oblique.sum()) >= _FEWEST and else_ >= max(0.5, 2 * own):
        return f"As {other[0]} it would fit: {other[1]}."
    if fits:
        return ""
    for maps, more in ((ratio, ""), (turned, f", and as {other[0]} ({other[1]})")):
        shares = [share(maps * unit, _CLOSE) for unit in _UNITS]
        if max(shares) >= 0.5:
            unit = _UNITS[int(np.argmax(shares))]
            return f"Scaled by {unit:g}{more} it would fit: it is in another unit. Multiply '&unit=' by that."
    return ""


def _within(views: Mapping[ViewId, ViewGeometry], depth_range: DepthRange) -> int:
    z_depth = torch.cat([view.z_depth.reshape(-1) for view in views.values()])
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
