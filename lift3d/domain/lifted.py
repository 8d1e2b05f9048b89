"""What comes out: lifted features, predictions, lifted views."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.errors import ContractError, ShapeError

PredictionKind = Literal["labels", "image", "scalar", "embedding", "masks"]
_DIMENSIONS = {"labels": 2, "image": 3, "scalar": 2, "embedding": 3, "masks": 3}


@dataclass(frozen=True, slots=True, eq=False)
class LiftedFeatures:
    """One cut's features at a target view.

    Attributes:
        features: NaN where coverage is 0.
        coverage: In [0, 1] per cell.
        z_depth: Expected depth per cell, NaN where not covered.
        confidence: In [0, 1] per cell, how likely they are right, 0 where not covered; None if the lifter tells none.
    """

    features: FeatureMap
    coverage: Float[Tensor, "row col"]
    z_depth: Float[Tensor, "row col"]
    confidence: Float[Tensor, "row col"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What an operator says about an image.

    Attributes:
        kind: labels (int, "height width"), image (float in [0, 1], "3 height width"), scalar (float,
            "height width"), embedding (float, "channel row col"), masks (float, "mask height width").
        values: As kind says; embeddings stay on the feature grid.
        is_valid: Where the prediction stands on something seen ("height width" of values).
    """

    kind: PredictionKind
    values: Shaped[Tensor, "..."]
    is_valid: Bool[Tensor, "height width"]

    def __post_init__(self) -> None:
        if self.values.ndim != _DIMENSIONS[self.kind] or self.values.shape[-2:] != self.is_valid.shape:
            raise ShapeError(
                f"A prediction of kind '{self.kind}' has values {tuple(self.values.shape)} and validity "
                f"{tuple(self.is_valid.shape)}; expected {_DIMENSIONS[self.kind]} axes ending in height, width."
            )
        if (self.kind == "labels") == self.values.dtype.is_floating_point:
            raise ContractError(f"A prediction of kind '{self.kind}' has values of dtype {self.values.dtype}.")


@dataclass(frozen=True, slots=True, eq=False)
class LiftedDepth:
    """How far the surfaces of a lifted view are, without its features."""

    target: ViewId
    camera: Camera
    grid: FeatureGrid
    coverage: Float[Tensor, "row col"]
    z_depth: Float[Tensor, "row col"]

    @classmethod
    def of(cls, view: "LiftedView") -> "LiftedDepth":
        """Return that of the cut with the most cells: its depth is the sharpest."""
        finest = max(view.lifted, key=lambda one: one.features.grid.cell_count)
        return cls(view.target, view.camera, finest.features.grid, finest.coverage, finest.z_depth)


@dataclass(frozen=True, slots=True, eq=False)
class LiftedView:
    """One operator's features and prediction at one target view.

    Attributes:
        lifted: One entry per cut.
        source_ids: The sources that were used; the target's own id for the plain 2D answer.
    """

    target: ViewId
    camera: Camera
    lifted: tuple[LiftedFeatures, ...]
    prediction: Prediction
    source_ids: tuple[ViewId, ...]

    @property
    def byte_count(self) -> int:
        """How many bytes its tensors hold."""
        held = [self.prediction.values, self.prediction.is_valid]
        for one in self.lifted:
            held += [one.features.values, one.coverage, one.z_depth]
            held += [more for more in (one.features.global_tokens, one.confidence) if more is not None]
        return sum(tensor.nbytes for tensor in held)
