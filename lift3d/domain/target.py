"""A camera to lift to."""

from collections.abc import Sequence
from dataclasses import dataclass

from lift3d.domain.camera import Camera
from lift3d.domain.keys import ViewId
from lift3d.domain.scene import View


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One camera to lift to.

    Attributes:
        id: Id of the view, or of the novel camera.
        camera: At the lifted size.
        view: The captured view of this camera; None for a novel camera.
        source_ids: Views that may be sources.
        sources: Those chosen, with their tapers, best first; none before they are selected, or if none is left.
    """

    id: ViewId
    camera: Camera
    view: View | None
    source_ids: Sequence[ViewId]
    sources: tuple[tuple[ViewId, float], ...] = ()
