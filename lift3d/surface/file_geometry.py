"""What methods share that read the scene's surface from a file: every view sees it, and it must fit the views."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry
from lift3d.surface.frame_check import ReadSurface, require_fit
from lift3d.surface.protocol import GeometrySpec

# What is nearer than this share of the nearest depth that matters is cut off: a camera may stand inside a surface.
_NEAREST_SHARE = 0.1


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
        require_fit(found, views, depth_range, find_tracks, self._path.name)
        return SceneGeometry(self.spec.name, found.views)

    @abstractmethod
    def _read(self, views: Sequence[SourceGuide], near: float) -> ReadSurface:
        """Read the file as the views see it, from a depth of ``near`` on."""
