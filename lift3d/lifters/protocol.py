"""What a lifter promises. Light: heavy types are named, not imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lift3d.domain.camera import Camera
    from lift3d.domain.features import FeatureMap
    from lift3d.domain.proposals import RayProposal, SourceGuide
    from lift3d.domain.scene import DepthRange
    from lift3d.domain.weights import BlendingWeights


@dataclass(frozen=True, slots=True)
class LifterSpec:
    """What there is to know of a lifter before it is loaded.

    Attributes:
        name: Catalog name.
        stage_version: Raised when the same input would give other numbers.
        summary: One sentence: the rule for weights.
        weights_digest: Content digest of trained weights; empty if there are none.
        is_learned: Whether it reads a checkpoint.
        is_guided: Whether correct is given the operator's features of the lifted picture: one more encode per target.
        is_anchored: Whether it reads the scene's surface, which is estimated once for all targets and operators.
    """

    name: str
    stage_version: int
    summary: str
    weights_digest: str = ""
    is_learned: bool = False
    is_guided: bool = False
    is_anchored: bool = False

    @property
    def identity(self) -> dict[str, str | int]:
        """What proposals depend on besides the scene."""
        return {"name": self.name, "stage_version": self.stage_version, "weights": self.weights_digest}


@runtime_checkable
class Lifter(Protocol):
    """A rule for blending weights.

    Promises: any channel count; the order of sources is irrelevant; moving the world rigidly, or scaling world and
    depths together, changes nothing; constant features lift to the constant; unseen cells have coverage 0; nothing
    of the target but its camera is read.
    """

    @property
    def spec(self) -> LifterSpec:
        """What there is to know without running it."""
        ...

    def propose(self, target: "Camera", guides: "Sequence[SourceGuide]", depth_range: "DepthRange") -> "RayProposal":
        """Return where the surface may be along each ray of the guide grid, and which sources see it.

        NoOverlapError if no source sees anything of the target's frustum.
        """
        ...

    def correct(
        self,
        proposal: "RayProposal",
        weights: "BlendingWeights",
        sources: "Sequence[FeatureMap]",
        guide: "FeatureMap | None" = None,
    ) -> "BlendingWeights":
        """Return new weights from the sources' own features of one cut; the sum per cell stays.

        Args:
            proposal: Of the target.
            weights: Shared weights on the operator's grid.
            sources: The sources' features, in the proposal's order.
            guide: The operator's features of the picture that the shared weights lift; only for lifters whose spec
                asks for it.
        """
        ...


class Uncorrected:
    """Of lifters whose weights every operator shares as they are."""

    def correct(
        self,
        proposal: "RayProposal",
        weights: "BlendingWeights",
        sources: "Sequence[FeatureMap]",
        guide: "FeatureMap | None" = None,
    ) -> "BlendingWeights":
        """Return the weights as they are."""
        return weights
