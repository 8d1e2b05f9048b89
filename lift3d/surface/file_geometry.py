"""What methods share that read the scene's surface from a file: every view sees it, and it must fit the views."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.surface.frame_check import require_fit
from lift3d.surface.protocol import GeometrySpec

# What is nearer than this share of the nearest depth that matters is cut off: a camera may stand inside a surface.
_NEAREST_SHARE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class ReadSurface:
    """What a file shows: to every view, and as points of the surface in its world, if it has any."""

    views: Mapping[ViewId, ViewGeometry]
    points: Float[Tensor, "point 3"] | None = None


class FileGeometry(ABC):
    """Scene geometry that lies in a file, in the world of the scene."""

    spec: GeometrySpec

    def __init__(self, path: Path) -> None:
        self._path = path

    def estimate(
        self, views: Sequence[SourceGuide], depth_range: DepthRange, find_tracks: Callable[[], Tracks]
    ) -> SceneGeometry:
        """Return what every view sees of the file; SceneFormatError if it is of another kind, or does not fit them."""
        found = self._read(views, _NEAREST_SHARE * depth_range.near)
        geometry = SceneGeometry(self.spec.name, found.views)
        return require_fit(geometry, views, depth_range, find_tracks, self._path.name, found.points)

    @abstractmethod
    def _read(self, views: Sequence[SourceGuide], near: float) -> ReadSurface:
        """Read the file as the views see it, from a depth of ``near`` on."""
