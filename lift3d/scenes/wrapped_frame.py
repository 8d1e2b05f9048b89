"""A view of a scene that another view shows otherwise: what is there, it has."""

from dataclasses import dataclass

from lift3d.domain.scene import FrameSource


@dataclass(frozen=True, slots=True, eq=False)
class WrappedFrame:
    """What a view is made of; whoever changes its pixels adds ``load`` and ``content_digest``."""

    source: FrameSource

    @property
    def has_depth(self) -> bool:
        """Whether load gives z_depth."""
        return self.source.has_depth

    @property
    def has_labels(self) -> bool:
        """Whether load gives labels."""
        return self.source.has_labels
