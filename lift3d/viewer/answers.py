"""What an operator says in all views, plain or lifted, held small enough to be asked again at every click."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16, Int, UInt8
from torch import Tensor

from lift3d.domain.lifted import LiftedView, Prediction
from lift3d.results.cloud import cells_at, whole_grid
from lift3d.results.colours import SceneColours, to_bytes
from lift3d.viewer.view_slices import ViewSlice

_GREY = 128
_UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """All views' answers of one kind: the plain 2D ones, or the lifted ones. Filled view by view.

    ``unit`` are features of length 1, NaN where the kind has none; predictions are colours of the small pictures'
    pixels and of the points, whose ``label`` is −1 where they have none; ``confidence`` is NaN where nobody tells it.
    """

    unit: Float16[Tensor, "cell channel"]
    directions: UInt8[Tensor, "cell 3"]
    confidence: Float16[Tensor, " cell"]
    prediction: UInt8[Tensor, "pixel 3"]
    at_points: UInt8[Tensor, "point 3"]
    label: Int[Tensor, " point"]

    @classmethod
    def empty(cls, slices: Sequence[ViewSlice], channel_count: int, point_count: int) -> "Answers":
        """Make room for all views."""
        cells, pixels = slices[-1].cells.stop, slices[-1].pixels.stop
        return cls(
            torch.full((cells, channel_count), torch.nan, dtype=torch.float16),
            torch.full((cells, 3), _GREY, dtype=torch.uint8),
            torch.full((cells,), torch.nan, dtype=torch.float16),
            torch.full((pixels, 3), _GREY, dtype=torch.uint8),
            torch.full((point_count, 3), _GREY, dtype=torch.uint8),
            torch.full((point_count,), _UNKNOWN, dtype=torch.int32),
        )

    def put(
        self,
        place: ViewSlice,
        view: LiftedView,
        colours: SceneColours,
        points: Int[Tensor, " own"],
        uv: Float[Tensor, "own 2"],
    ) -> None:
        """Take one view's answer, and what it says at the points that are its own."""
        lifted, prediction = view.lifted[0], view.prediction
        features = place.thinned(lifted.features.values)
        if tuple(features.shape) == (self.unit.shape[1], place.grid.rows, place.grid.cols):
            self.directions[place.cells] = torch.from_numpy(to_bytes(colours.pca.picture(features))).reshape(-1, 3)
            # Of length 0 is what says nothing: it is like nothing.
            self.unit[place.cells] = torch.nn.functional.normalize(features.flatten(1).T, dim=1).half()
            if lifted.confidence is not None:
                self.confidence[place.cells] = place.thinned(lifted.confidence).flatten().half()
        # An embedding lies on the cells, and is coloured with them.
        if prediction.kind == "embedding":
            return
        picture = colours.picture(_small(prediction, place))
        self.prediction[place.pixels] = torch.from_numpy(to_bytes(picture)).reshape(-1, 3)
        at = cells_at(whole_grid(view.camera.size, *prediction.is_valid.shape), uv)
        own = Prediction(
            prediction.kind, prediction.values.flatten(-2)[..., None, at], prediction.is_valid.flatten()[None, at]
        )
        self.at_points[points] = torch.from_numpy(to_bytes(colours.picture(own)))[0]
        if prediction.kind in ("labels", "masks"):
            label = own.values if prediction.kind == "labels" else own.values.argmax(0)
            self.label[points] = torch.where(own.is_valid, label, _UNKNOWN)[0].int()


def _small(prediction: Prediction, place: ViewSlice) -> Prediction:
    """Return a prediction at the size of the small picture; labels stay labels."""
    height, width = prediction.is_valid.shape
    rows = ((torch.arange(place.picture.height) + 0.5) * height / place.picture.height).long()
    cols = ((torch.arange(place.picture.width) + 0.5) * width / place.picture.width).long()
    values = prediction.values[..., rows[:, None], cols[None]]
    return Prediction(prediction.kind, values, prediction.is_valid[rows[:, None], cols[None]])
