"""Stage I's answer: along each ray of the guide grid, where the surface may be and which sources see it."""

from dataclasses import dataclass, replace

from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.errors import ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class SourceGuide:
    """What a lifter may know of a source view: never an operator's features.

    Attributes:
        id: The source view.
        camera: Its camera at the size of the image.
        image: sRGB in [0, 1].
        is_valid: Pixels that may vote.
        taper: In (0, 1]; the source selection fades the farthest source out, so that the answer is continuous when
            the set of sources changes. Multiplies every weight of this source.
        z_depth: The source's own depth, NaN where unknown; None where the scene has none.
    """

    id: ViewId
    camera: Camera
    image: Float[Tensor, "3 height width"]
    is_valid: Bool[Tensor, "height width"]
    taper: float = 1.0
    z_depth: Float[Tensor, "height width"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RayProposal:
    """A distribution of depth along each ray of the guide grid, and who sees each sample.

    Attributes:
        grid: The guide grid, row-major cells.
        target: The target camera.
        sources: Cameras of the sources, in the order of the source axis.
        source_ids: Their ids.
        z_depth: Depth of each sample in the target camera, world units; arbitrary where probability is 0.
        probability: Probability that the ray ends at the sample; sums to 1, or to 0 where nothing is known.
        visibility: Nonnegative preference for each source at each sample (occlusion, validity, taper and whatever
            else the lifter weighs); 0 means that the source does not see the sample. Need not be normalised.
        source_is_valid: Pixels of each source that may vote; None if all may. Visibility is known per guide cell
            only, so the pipeline adds these for the taps to be checked against.
        presence: How far a source shows a sample, in [0, 1] times taper, with no preference for near ones: what
            features are blended by that all views should agree on. None if the lifter does not tell it apart.
        state: What a learned lifter hands from stage I to its corrector; None if it hands nothing.
    """

    grid: FeatureGrid
    target: Camera
    sources: tuple[Camera, ...]
    source_ids: tuple[ViewId, ...]
    z_depth: Float[Tensor, "cell sample"]
    probability: Float[Tensor, "cell sample"]
    visibility: Float[Tensor, "cell sample source"]
    source_is_valid: tuple[Bool[Tensor, "_ _"], ...] | None = None
    state: Float[Tensor, "cell channel"] | None = None
    presence: Float[Tensor, "cell sample source"] | None = None

    def __post_init__(self) -> None:
        cells, samples = self.grid.cell_count, int(self.z_depth.shape[-1])
        expected = ((cells, samples), (cells, samples), (cells, samples, len(self.sources)))
        got = (tuple(self.z_depth.shape), tuple(self.probability.shape), tuple(self.visibility.shape))
        is_present = self.presence is None or self.presence.shape == self.visibility.shape
        if got != expected or not is_present or len(self.sources) != len(self.source_ids):
            raise ShapeError(
                f"A ray proposal of {cells} cells needs shapes {expected} and as many ids as sources, got "
                f"{got}, {len(self.source_ids)} ids for {len(self.sources)} sources, and presence of shape "
                f"{None if self.presence is None else tuple(self.presence.shape)}."
            )

    def voting(self, nearness: float = 0.0) -> "RayProposal":
        """Return the same geometry, with every source that sees a ray's most probable depth counting alike.

        One depth, so that as many taps read as many views: among many who votes matters more than how depth is
        spread. Where near views are preferred fully, all depths stay: these are the weights of colours.

        Args:
            nearness: How much near views are preferred all the same, from 0 (not at all) to 1 (as ``visibility`` says).
        """
        if self.presence is None or nearness >= 1:
            return self
        strongest = self.probability.argmax(1, keepdim=True)
        at_source = strongest[..., None].expand(-1, -1, len(self.sources))
        preferred, present = (one.gather(1, at_source) for one in (self.visibility, self.presence))
        return replace(
            self,
            z_depth=self.z_depth.gather(1, strongest),
            probability=self.probability.sum(1, keepdim=True),
            visibility=preferred**nearness * present ** (1 - nearness),
            presence=None,
        )
