"""What a method of scene geometry promises. Light: heavy types are named, not imported."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lift3d.domain.proposals import SourceGuide
    from lift3d.domain.scene import DepthRange, Tracks
    from lift3d.domain.scene_geometry import SceneGeometry


@dataclass(frozen=True, slots=True)
class GeometrySpec:
    """What there is to know of a method before it is loaded.

    Attributes:
        name: Catalog name.
        stage_version: Raised when the same views would give other numbers.
        summary: One sentence: where the surface comes from.
        needs_depth: Whether every view must have depth of its own.
        tolerance: Relative difference of depth within which two views show one surface.
        is_searched: Whether depth is matched by windows of photographs, so that things reach beyond their outlines.
        painters: Views whose coarse bands a picture is a mean of, at most: where depth is unsure, many are a blur.
        file: What file or folder it reads besides the views; empty if none.
        content: Digest of what it reads; empty as long as that is not known.
    """

    name: str
    stage_version: int
    summary: str
    needs_depth: bool = False
    tolerance: float = 0.03
    is_searched: bool = False
    painters: int = 32
    file: str = ""
    content: str = ""

    @property
    def identity(self) -> dict[str, str | int]:
        """What the geometry depends on besides the views."""
        content = {"content": self.content} if self.content else {}
        return {"name": self.name, "stage_version": self.stage_version, **content}


@runtime_checkable
class GeometryMethod(Protocol):
    """A way to find the surface of a scene.

    Promises: the order of views is irrelevant; moving the world rigidly, or scaling world and depths together,
    changes nothing else; invalid pixels never vote; what no evidence tells is NaN, or has a low confidence.
    """

    @property
    def spec(self) -> GeometrySpec:
        """What there is to know without running it."""
        ...

    def estimate(
        self, views: "Sequence[SourceGuide]", depth_range: "DepthRange", find_tracks: "Callable[[], Tracks]"
    ) -> "SceneGeometry":
        """Return depth and confidence of every view, all at the size that is lifted; their tapers are not read.

        ``find_tracks`` gives sparse surface points triangulated from these views alone, their observations in pixels of
        these cameras; NoOverlapError if there are too few. It is dear at first, then kept.

        Raises:
            NoOverlapError: If no two views see the same place, or nothing tells where any surface is.
            SceneFormatError: If what it reads is malformed, or does not fit the views.
        """
        ...
