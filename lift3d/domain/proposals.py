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
        camera: At the size of the image, which is sRGB in [0, 1].
        is_valid: Pixels that may vote.
        taper: In (0, 1]; the source selection fades the farthest source out, so that the answer is continuous when
            the set of sources changes. Multiplies every weight of this source.
        z_depth: The source's own depth, NaN where unknown; None where the scene has none.
        is_empty: Pixels behind which there is nothing; None if there are none (``Frame.is_empty``).
    """

    id: ViewId
    camera: Camera
    image: Float[Tensor, "3 height width"]
    is_valid: Bool[Tensor, "height width"]
    taper: float = 1.0
    z_depth: Float[Tensor, "height width"] | None = None
    is_empty: Bool[Tensor, "height width"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RayProposal:
    """A distribution of depth along each ray of the guide grid, and who sees each sample.

    Attributes:
        grid: The guide grid, row-major cells.
        sources: Cameras of the sources, in the order of the source axis.
        z_depth: Depth of each sample in the target camera, world units; arbitrary where probability is 0.
        probability: Probability that the ray ends at the sample; sums to 1, or to 0 where nothing is known.
        view_weight: Nonnegative weight of each source at each sample (occlusion, validity, taper, angle and whatever
            else the lifter weighs); 0 where the source does not see the sample. Need not be normalised.
        source_is_valid: Pixels of each source that may vote; None if all may. Weights are known per guide cell
            only, so the pipeline adds these for the taps to be checked against.
        visibility: How far a source shows a sample, in [0, 1] times taper, near or not; None if the lifter does not
            tell it from the weight.
        state: What a learned lifter hands from stage I to its corrector; None if it hands nothing.
    """

    grid: FeatureGrid
    target: Camera
    sources: tuple[Camera, ...]
    source_ids: tuple[ViewId, ...]
    z_depth: Float[Tensor, "cell sample"]
    probability: Float[Tensor, "cell sample"]
    view_weight: Float[Tensor, "cell sample source"]
    source_is_valid: tuple[Bool[Tensor, "_ _"], ...] | None = None
    state: Float[Tensor, "cell channel"] | None = None
    visibility: Float[Tensor, "cell sample source"] | None = None

    def __post_init__(self) -> None:
        cells, samples = self.grid.cell_count, int(self.z_depth.shape[-1])
        expected = ((cells, samples), (cells, samples), (cells, samples, len(self.sources)))
        got = (tuple(self.z_depth.shape), tuple(self.probability.shape), tuple(self.view_weight.shape))
        fits = self.visibility is None or self.visibility.shape == self.view_weight.shape
        if got != expected or not fits or len(self.sources) != len(self.source_ids):
            raise ShapeError(
                f"A ray proposal of {cells} cells needs shapes {expected} and as many ids as sources, got "
                f"{got}, {len(self.source_ids)} ids for {len(self.sources)} sources, and visibility of shape "
                f"{None if self.visibility is None else tuple(self.visibility.shape)}."
            )

    def uniformly_weighted(self, proximity: float = 0.0) -> "RayProposal":
        """Return the same geometry at each ray's most probable depth, with every source that sees it weighed alike.

        One depth, so that as many taps read as many views. Proximity is the exponent from 0 to 1 between two weights,
        ``view_weight^p · visibility^(1 − p)``; at 1 all depths stay: the weights of colours.
        """
        if self.visibility is None or proximity >= 1:
            return self
        strongest = self.probability.argmax(1, keepdim=True)
        at_source = strongest[..., None].expand(-1, -1, len(self.sources))
        view_weight, visibility = (one.gather(1, at_source) for one in (self.view_weight, self.visibility))
        return replace(
            self,
            z_depth=self.z_depth.gather(1, strongest),
            probability=self.probability.sum(1, keepdim=True),
            view_weight=view_weight**proximity * visibility ** (1 - proximity),
            visibility=None,
        )
