"""What a metric promises. Light: heavy types are named, not imported."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from lift3d.domain.features import FeatureGrid, FeatureMap
    from lift3d.domain.lifted import LiftedView
    from lift3d.domain.scene import Frame
    from lift3d.domain.scores import Score

Scope = Literal["view", "pair", "scene"]
Better = Literal["higher", "lower", "neither"]
Need = Literal["labels", "instances", "geometry", "depth", "truth"]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What there is to know of a metric.

    Attributes:
        name: Metric id, as in the table.
        scope: Over one view, a pair of views, or a scene.
        better: Which way is better; "neither" for descriptive figures.
        kinds: Prediction kinds it applies to; empty for all.
        quantities: Of operators it applies to; empty for all whose answers it can compare (``scoring.applies``).
        needs: What must be there: "labels" or "instances" (annotated views), "geometry" (depth or tracks), "depth" (of
            the views), "truth" (an operator that means to restore the true image), or nothing.
        angles_deg: Which baseline angles a pair metric covers, [from, to).
        stage_version: Raised when the same input would give other numbers.
    """

    name: str
    scope: Scope
    better: Better
    kinds: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    angles_deg: tuple[float, float] = (0.0, 180.0)
    stage_version: int = 1

    @property
    def is_fidelity(self) -> bool:
        """Whether it compares with the view's own answer or a truth, rather than views with each other."""
        return self.better != "neither" and "geometry" not in self.needs and self.name != "coverage"


@dataclass(frozen=True, slots=True, eq=False)
class ViewEvidence:
    """What there is to score at one target view.

    Attributes:
        lifted: Features and prediction of the lifter (or of raw2d itself).
        plain: The operator's own answer on the true target image.
        frame: The true target: image, validity, depth, labels.
        filled: The lifted features with holes closed, one map per cut; what the decoder saw.
        counts: Pixels that count, at the size of frame: valid pixels, or their intersection over lifters.
        quantity: What the operator says: ``OperatorSpec.quantity``.
        cells: Cells that count, by their grid, kept by ``counting.cells_of`` for the next figure.
    """

    lifted: "LiftedView"
    plain: "LiftedView"
    frame: "Frame"
    filled: "tuple[FeatureMap, ...]"
    counts: "Bool[Tensor, 'height width']"
    quantity: str = "invariant"
    cells: "dict[FeatureGrid, Bool[Tensor, 'row col']]" = field(default_factory=dict, init=False, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Points that two views both see under the scene's scoring geometry.

    Attributes:
        uv_a: Where view a sees them, pixels at the scored size.
        uv_b: Where view b sees them.
        uv_b_floor: A second estimate of uv_b by the same geometry (through the surface that b itself shows,
            or the point's reprojection): |S_b(uv_b) − S_b(uv_b_floor)| is the error of the warp alone.
        angle_deg: Median angle at the points between the rays to both camera centres.
    """

    uv_a: "Float[Tensor, 'point 2']"
    uv_b: "Float[Tensor, 'point 2']"
    uv_b_floor: "Float[Tensor, 'point 2']"
    angle_deg: float


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Surface points seen in at least two target views, one entry per observation, sorted by point, then view.

    Points are numbered without gaps; views are indices of target views, uv pixels at the scored size.
    """

    point: "Int[Tensor, ' observation']"
    view: "Int[Tensor, ' observation']"
    uv: "Float[Tensor, 'observation 2']"


@runtime_checkable
class Views(Protocol):
    """The evidence of target views, in order. A view may be read when it is asked for, and let go when others are."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, place: int, /) -> ViewEvidence:
        """Return one; IndexError beyond the last."""
        ...

    def __iter__(self) -> "Iterator[ViewEvidence]":
        """Go through all of them."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SceneEvidence:
    """All target views of a scene for one operator and lifter; ``matches`` says what pairs of them, by index, see.

    ``means`` are those of unit features at surface points, kept by ``agreement`` for the next figure.
    """

    views: Views
    matches: "Mapping[tuple[int, int], Matches]"
    observations: Observations
    means: "list[tuple[Float[Tensor, 'point channel'], Float[Tensor, ' point']]]" = field(
        default_factory=list, init=False, repr=False
    )


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of one target view, of two, or of all of a scene, as the scope of its spec says.

    ``score`` takes a ViewEvidence; two of them and the Matches between them; or the SceneEvidence. It gives NaN with a
    reason where the figure is undefined.
    """

    spec: MetricSpec
    score: "Callable[..., Score]"
