"""What an operator promises. Light: heavy types are named, not imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

from lift3d.errors import UnknownNameError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from lift3d.domain.camera import ImageSize
    from lift3d.domain.features import FeatureGrid, FeatureMap, SceneState
    from lift3d.domain.keys import ViewId
    from lift3d.domain.lifted import Prediction
    from lift3d.domain.scene_views import SceneViews

Quantity = Literal["invariant", "color", "depth", "disparity", "direction", "label", "instance"]
Kind = Literal["labels", "image", "scalar", "embedding", "masks"]

# Quantities that need no camera and no association to be compared between a view and a lifted picture.
COMPARABLE = ("invariant", "label", "color")


@dataclass(frozen=True, slots=True)
class OperatorSpec:
    """What there is to know of an operator before it is loaded.

    Attributes:
        name: As the user wrote it; its identity together with stage_version and weights_digest.
        stage_version: Raised when the same input would give other numbers.
        prediction_kind: What decode gives.
        quantity: What is blended; it must be the same quantity in every view. Colours (color) are blended
            as the lifted picture is by lifters that lift one. depth and disparity (one channel, placed in the scene by
            ``depth_alignment.fit_depth`` in fit_scene), direction (three channels, axes of the view's camera) and
            instance (masks in [0, 1] whose numbers mean nothing elsewhere, joined by
            ``instance_association.fit_instances``) are carried into the target's terms before they are blended.
        licence: Of code and weights.
        weights_digest: Content digest of the weights; empty if there are none.
        channel_count: Channels of the (first) cut, 0 if known only after the first image.
        stride_px: Image pixels per feature cell (of the first cut).
        further_cuts: Channels and stride of the other cuts, for planning.
        color_cuts: Which cuts are the image itself, pixel by pixel, whatever the others are: blended as colours are.
        leaks: What of the target image reaches decode other than through the features; empty is the promise.
        is_precomputed: Whether it only knows the scene's own views (``PrecomputedOperator``).
        restores: Whether the answer means to be the true image (super-resolution, colorization): it is then
            compared with it.
        label_names: Of label ids 0, 1, …; they are matched by name with the classes that a scene is annotated with,
            and all others are "background" if that is one of them, else left out. Empty: ids are the scene's own.
        threshold_source: Where a threshold of the answer came from, for the rows of the table; empty if there is none.
        decodes_cells: Whether decode, and what is fitted for it, takes each cell of features for itself, on any grid:
            what lies on a surface is then read on finer cells than a network's.
    """

    name: str
    stage_version: int
    prediction_kind: Kind
    quantity: Quantity = "invariant"
    licence: str = "Apache-2.0"
    weights_digest: str = ""
    channel_count: int = 0
    stride_px: float = 1.0
    further_cuts: tuple[tuple[int, float], ...] = ()
    color_cuts: tuple[int, ...] = ()
    leaks: str = ""
    is_precomputed: bool = False
    restores: bool = False
    label_names: tuple[str, ...] = ()
    threshold_source: str = ""
    decodes_cells: bool = False

    def __post_init__(self) -> None:
        """UnknownNameError if the kind of the prediction or the quantity is none that there is."""
        for what, given, known in (
            ("prediction kind", self.prediction_kind, Kind),
            ("quantity", self.quantity, Quantity),
        ):
            if given not in get_args(known):
                raise UnknownNameError.of(what, str(given), get_args(known))

    @property
    def identity(self) -> dict[str, str | int]:
        """What features depend on besides the image."""
        return {"name": self.name, "stage_version": self.stage_version, "weights": self.weights_digest}


@runtime_checkable
class Operator(Protocol):
    """A frozen 2D vision model, cut in two.

    Promises: exact grids; deterministic; ``decode(encode(x))`` equals the plain 2D model; decode depends on nothing
    but its arguments; any image size.
    """

    @property
    def spec(self) -> OperatorSpec:
        """What there is to know without running it."""
        ...

    def encode(self, image: "Float[Tensor, '3 height width']") -> "tuple[FeatureMap, ...]":
        """Return the features of one image (sRGB in [0, 1]), one map per cut, float32, finite."""
        ...

    def fit_scene(self, maps: "Mapping[ViewId, tuple[FeatureMap, ...]]", views: "SceneViews") -> "SceneState":
        """Return whatever needs all views; EMPTY_STATE for most.

        ``views`` says where the same views stand, and gives sparse surface points that they see. A positional field
        (``lift3d.operators.positional_field.fit_field``) in the state is kept out of blending.
        """
        ...

    def decode(self, features: "tuple[FeatureMap, ...]", state: "SceneState", size: "ImageSize") -> "Prediction":
        """Return the prediction from finite features, for an image of ``size``."""
        ...


@runtime_checkable
class Movable(Protocol):
    """An operator, or a lifter, that holds a network: it is told once where to compute, before anything else."""

    def to(self, device: "torch.device") -> object:
        """Compute on a device from now on; what is given lies there, too."""
        ...


@runtime_checkable
class BatchOperator(Operator, Protocol):
    """An operator that takes several images at once, as GPUs like it; one image goes to ``encode``."""

    def encode_batch(self, images: "Float[Tensor, 'image 3 height width']") -> "Sequence[tuple[FeatureMap, ...]]":
        """Return the features of each image as ``encode`` does, up to rounding."""
        ...


@runtime_checkable
class PrecomputedOperator(Operator, Protocol):
    """What was said of a scene's views elsewhere: it is read, and no other image can be shown to it."""

    def read(self, view: "ViewId", size: "ImageSize") -> "tuple[FeatureMap, ...]":
        """Return what was said of a view at a size, one map per cut, float32, finite; SceneError if nothing was."""
        ...

    def grids(self, size: "ImageSize") -> "tuple[FeatureGrid, ...]":
        """Return the grids of a target of a size."""
        ...
