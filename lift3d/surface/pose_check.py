"""What would make views agree whose depth contradicts each other: poses of another convention, another unit, rays.

Letters: a is the view whose places are looked up, b a view that is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.scene_geometry import ViewGeometry
from lift3d.geometry.projection import project
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import inverse
from lift3d.geometry.sampling import nearest_cells
from lift3d.scenes.pose_conventions import CONVENTIONS, Poses

# Views that are asked, spread over all, and places of each.
_VIEWS, _PLACES = 16, 150
# Depths within this share are of one surface; places that so many views say something of tell enough.
_AGREEING, _FEWEST = 0.03, 40
# What would fit is confirmed at so many of the places that others see, and so many times as often as what is read.
_FITS, _FITS_BETTER = 0.7, 1.3
# What a depth may have been scaled by.
_UNITS = (1000.0, 100.0, 39.3701, 10.0, 5.0, 3.28084, 0.3048, 0.2, 0.1, 0.0254, 0.01, 0.001)
# Depths that are farther apart are of two surfaces. Distances that are taken for z leave views apart by this at least,
# by the median, and as what they are by less than this share of it; z of a sensor is twice as far apart as distances.
_ONE_SURFACE, _APART, _CLOSER = 0.15, 0.008, 0.65
_NEAR_UNITS = (0.88, 0.92, 0.96, 1.04, 1.08, 1.12)

# By the power of the rays' lengths that makes them right.
_KINDS = {
    -1: "What is called z-depth is the distance along the ray: only so do views agree. Export z, or name the folder of "
    "the maps: depths?path=FOLDER&ray=1.",
    1: "What was read as the distance along the ray is z-depth: only so do views agree. Leave '&ray=1' away.",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Sparse:
    """Views with places on a sparse lattice, all in one frame of numbers."""

    K: Float[Tensor, "view 3 3"]
    c2w: Poses
    rays: Float[Tensor, "view place 3"]
    z_depth: Float[Tensor, "view place"]
    maps: Sequence[tuple[FeatureGrid, Float[Tensor, " cell"], Float[Tensor, " cell"]]]

    @classmethod
    def of(cls, views: Mapping[ViewId, ViewGeometry]) -> "_Sparse":
        names = sorted(views)
        step = -(-len(names) // _VIEWS)
        chosen = [views[name] for name in names[::step]]
        rays, depths, maps = [], [], []
        for view in chosen:
            size = view.camera.size
            pitch = max(1.0, (size.height * size.width / _PLACES) ** 0.5)
            uv = cell_centers(*FeatureGrid.covering(size, pitch).lattice).reshape(-1, 2)
            places = torch.linspace(0, len(uv) - 1, _PLACES).long()
            rays.append(directions_z1(uv[places].double(), view.camera.K))
            own = view.z_depth.cpu().double().reshape(-1)
            depths.append(own[nearest_cells(uv[places], *view.grid.lattice).clamp(min=0)])
            across = directions_z1(cell_centers(*view.grid.lattice).double().reshape(-1, 2), view.camera.K)
            maps.append((view.grid, own, across.norm(dim=-1)))
        return cls(
            torch.stack([view.camera.K for view in chosen]),
            torch.stack([view.camera.c2w for view in chosen]),
            torch.stack(rays),
            torch.stack(depths),
            maps,
        )

    def votes(self, c2w: Poses | None = None, unit: float = 1.0, power: int = 0) -> Float[Tensor, " vote"]:
        """Return what views say of each other's places, depth as a multiple of that of the place; unknown left out.

        Depths are scaled by ``unit`` and by a power of the lengths of their rays: −1 makes z of distances along these.
        """
        c2w = self.c2w if c2w is None else c2w
        depths = unit * self.z_depth * self.rays.norm(dim=-1) ** power
        xyz = torch.einsum("aij,apj->api", c2w[:, :3, :3], self.rays * depths[..., None]) + c2w[:, None, :3, 3]
        w2c, found = inverse(c2w), []
        for b, (grid, z_map, length) in enumerate(self.maps):
            own = torch.cat([xyz[:b], xyz[b + 1 :]]).reshape(-1, 3) @ w2c[b, :3, :3].T + w2c[b, :3, 3]
            uv, _ = project(own, self.K[b])
            cell = nearest_cells(uv, *grid.lattice)
            seen = unit * (z_map * length**power)[cell.clamp(min=0)]
            found.append((seen / own[:, 2])[cell >= 0])
        votes = torch.cat(found)
        return votes[torch.isfinite(votes)]


def what_views_would_fit(views: Mapping[ViewId, ViewGeometry]) -> str:
    """Return a sentence on the poses, or the unit of depth, with which views would agree; empty if with none."""
    # A few numbers of a few views: the host's.
    with torch.device("cpu"):
        return _fitting(_Sparse.of(views))


def _fitting(sparse: _Sparse) -> str:
    own, _ = _confirmed(sparse.votes())
    poses = [(one.said, _confirmed(sparse.votes(one.reread(sparse.c2w)))) for one in CONVENTIONS]
    units = [(f"{unit:g}", _confirmed(sparse.votes(unit=unit))) for unit in _UNITS]
    for before, tried in (("The poses would fit {}.", poses), ("Depth scaled by {} would fit the poses.", units)):
        fitting = [one for one in tried if one[1][0] >= max(_FITS, _FITS_BETTER * own) and one[1][1] >= _FEWEST]
        if fitting:
            # Where few places are seen, all of them may agree by chance.
            return before.format(max(fitting, key=lambda one: one[1][0] * one[1][1])[0])
    return ""


def misread_depth(views: Mapping[ViewId, ViewGeometry]) -> str:
    """Return a sentence where only as the other kind do depths agree to the last percent: z, distances along rays."""
    if len(views) < 2:
        return ""
    with torch.device("cpu"):
        return _of_other_kind(_Sparse.of(views))


def _of_other_kind(sparse: _Sparse) -> str:
    as_read = _apart(sparse.votes())
    if as_read <= _APART:
        return ""
    for power, said in _KINDS.items():
        other = _apart(sparse.votes(power=power))
        # Poses and depth whose scales differ by some percent are no kind of depth.
        if 0 < other < _CLOSER * as_read and all(
            other < _CLOSER * _apart(sparse.votes(unit=one)) for one in _NEAR_UNITS
        ):
            return said
    return ""


def _confirmed(votes: Float[Tensor, " vote"]) -> tuple[float, int]:
    """Return of the places that others see or see through the share that they confirm, and how many these are."""
    support = int(((votes - 1).abs() < _AGREEING).sum())
    opposition = int((votes > 1 + _AGREEING).sum())
    return support / max(1, support + opposition), support


def _apart(votes: Float[Tensor, " vote"]) -> float:
    """Return the median difference of depths of one surface; 0 where there are too few."""
    off = (votes - 1).abs()
    off = off[off < _ONE_SURFACE]
    return float(off.median()) if len(off) >= _FEWEST else 0.0
