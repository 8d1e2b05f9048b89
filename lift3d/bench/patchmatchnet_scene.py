"""PatchmatchNet over a whole scene, as its authors run it: neighbours and ranges from sparse points, then fusion."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.bench.depth_confirmation import confirmed
from lift3d.bench.patchmatchnet import PatchmatchNet
from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.geometry.rays import baseline_angle
from lift3d.geometry.rigid import transform
from lift3d.surface.protocol import GeometrySpec

# Baselines score by a bell around this angle, steeper below than above it (Yao et al., MVSNet, ECCV 2018, §4.1).
_BEST_ANGLE_DEG, _SPREAD_BELOW_DEG, _SPREAD_ABOVE_DEG = 5.0, 1.0, 10.0
# Of a view's sparse points, those that its range holds for sure; and how much farther it reaches.
_RANGE_QUANTILES, _RANGE_MARGIN, _FEWEST_POINTS = (0.01, 0.99), 1.1, 10


@dataclass(frozen=True, slots=True, eq=False)
class PatchmatchNetGeometry:
    """The published network as a method of scene geometry.

    Attributes:
        network: With its weights.
        neighbour_count: Sources of each view.
        is_fused: Whether depth that fewer than three neighbours confirm is dropped, and the rest averaged with theirs.
    """

    network: PatchmatchNet
    neighbour_count: int = 8
    is_fused: bool = True

    @property
    def spec(self) -> GeometrySpec:
        """What there is to know without running it."""
        name = "patchmatchnet_fused" if self.is_fused else "patchmatchnet"
        return GeometrySpec(name, 1, "A published network of multi-view stereo, for comparison.")

    def estimate(
        self, views: Sequence[SourceGuide], depth_range: DepthRange, find_tracks: Callable[[], Tracks]
    ) -> SceneGeometry:
        """Return depth and confidence of every view, on the grid of its pixels.

        Args:
            views: All that may be used.
            depth_range: For views with hardly any sparse point.
            find_tracks: Gives sparse points; raises NoOverlapError if there are too few.
        """
        sparse = _SparsePoints.of(find_tracks())
        guides = {view.id: view for view in views}
        cameras = {view.id: view.camera for view in views}
        neighbours = {name: sparse.neighbours(name, cameras)[: self.neighbour_count] for name in guides}
        found = {}
        for name, guide in guides.items():
            sources = [guides[other] for other in neighbours[name]]
            found[name] = self._of_view(guide, sources, sparse.depth_range(name, guide.camera, depth_range))
        if self.is_fused:
            posed = {name: (cameras[name], found[name].z_depth) for name in guides}
            found = {
                name: _with_depth(one, confirmed(posed[name], [posed[other] for other in neighbours[name]]))
                for name, one in found.items()
            }
        return SceneGeometry(self.spec.name, found)

    def _of_view(self, guide: SourceGuide, sources: Sequence[SourceGuide], span: DepthRange) -> ViewGeometry:
        z, confidence = torch.full(guide.is_valid.shape, torch.nan), torch.zeros(guide.is_valid.shape)
        if sources:
            posed = [(source.camera, source.image) for source in sources]
            z, confidence = self.network.estimate(guide.camera, guide.image, posed, span)
        grid = FeatureGrid.covering(guide.camera.size, 1.0)
        return _with_depth(ViewGeometry(guide.camera, grid, z, confidence), torch.where(guide.is_valid, z, torch.nan))


def _with_depth(view: ViewGeometry, z: Float[Tensor, "row col"]) -> ViewGeometry:
    return replace(view, z_depth=z, confidence=torch.where(torch.isfinite(z), view.confidence, 0))


@dataclass(frozen=True, slots=True, eq=False)
class _SparsePoints:
    """Points in the world, and which of them each view sees."""

    points: Float[Tensor, "point 3"]
    seen: Mapping[ViewId, Bool[Tensor, " point"]]

    @classmethod
    def of(cls, tracks: Tracks) -> "_SparsePoints":
        seen = torch.zeros(len(tracks.view_ids), len(tracks.points), dtype=torch.bool)
        seen[tracks.view_index, tracks.point_index] = True
        return cls(tracks.points.double(), dict(zip(tracks.view_ids, seen, strict=True)))

    def neighbours(self, target: ViewId, cameras: Mapping[ViewId, Camera]) -> list[ViewId]:
        """Return the views that share points with a view, best baselines first."""
        scores = {}
        for name in cameras.keys() & self.seen.keys() - {target}:
            shared = self.points[self.seen[target] & self.seen[name]]
            angle = torch.rad2deg(baseline_angle(shared, cameras[target].center, cameras[name].center))
            spread = torch.where(angle < _BEST_ANGLE_DEG, _SPREAD_BELOW_DEG, _SPREAD_ABOVE_DEG)
            scores[name] = float(torch.exp(-0.5 * ((angle - _BEST_ANGLE_DEG) / spread) ** 2).sum())
        return sorted((name for name in scores if scores[name] > 0), key=lambda name: (-scores[name], name))

    def depth_range(self, name: ViewId, camera: Camera, otherwise: DepthRange) -> DepthRange:
        """Return the range of a view's points, somewhat widened."""
        z = transform(camera.w2c, self.points[self.seen[name]])[:, 2]
        if len(z) < _FEWEST_POINTS:
            return otherwise
        near, far = torch.quantile(z, torch.tensor(_RANGE_QUANTILES, dtype=z.dtype)).tolist()
        return DepthRange(near / _RANGE_MARGIN, far * _RANGE_MARGIN)
