"""Where the views of a scene stand: what a fit over all of them may know besides their features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.domain.scene import Tracks
from lift3d.errors import NoOverlapError


@dataclass(frozen=True, slots=True, eq=False)
class SceneViews:
    """The views that an operator may fit on, cameras at the encoded size. Held-out targets are not among them.

    Attributes:
        find_tracks: Gives sparse surface points triangulated from these views alone, their observations in pixels of
            these cameras; raises NoOverlapError if there are too few. Dear at first, then kept.
    """

    cameras: Mapping[ViewId, Camera]
    find_tracks: Callable[[], Tracks]

    @classmethod
    def of(cls, cameras: Mapping[ViewId, Camera]) -> "SceneViews":
        """Return views of which no surface point is known."""
        return cls(cameras, _no_tracks)


def _no_tracks() -> Tracks:
    raise NoOverlapError("No surface point of these views is known; expected views that overlap and have texture.")
