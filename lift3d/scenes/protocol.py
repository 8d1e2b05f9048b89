"""What a scene reader promises. Light: heavy types are named, not imported."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lift3d.domain.scene import Scene


@runtime_checkable
class SceneReader(Protocol):
    """Reads one format.

    Promises: OpenCV axes and corner-origin pixels whatever the format's own; joins by name, never by position; no
    pixel is decoded; a view that cannot be used is a DroppedView with a reason; nothing is normalised invisibly.
    """

    def recognizes(self, location: str) -> bool:
        """Whether the location looks like this format (cheap: names of files only)."""
        ...

    def read(self, location: str) -> "Scene":
        """Read cameras and references; SceneFormatError if a file is missing or malformed, or no view is usable."""
        ...
