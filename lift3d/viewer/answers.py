"""What an operator says in all views, plain or lifted, held small enough to be asked again at every click."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float16, UInt8
from torch import Tensor

from lift3d.domain.lifted import LiftedView, Prediction
from lift3d.results.colours import SceneColours, to_bytes
from lift3d.viewer.view_slices import ViewSlice

_GREY = 128


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """All views' answers of one kind: the plain 2D ones, or the lifted ones. Filled view by view.

    ``unit`` are features of length 1, NaN where the kind has none; predictions are colours of the small pictures'
    pixels.
    """

    unit: Float16[Tensor, "cell channel"]
    directions: UInt8[Tensor, "cell 3"]
    prediction: UInt8[Tensor, "pixel 3"]

    @classmethod
    def empty(cls, slices: Sequence[ViewSlice], channel_count: int) -> "Answers":
        """Make room for all views."""
        cells, pixels = slices[-1].cells.stop, slices[-1].pixels.stop
        return cls(
            torch.full((cells, channel_count), torch.nan, dtype=torch.float16),
            torch.full((cells, 3), _GREY, dtype=torch.uint8),
            torch.full((pixels, 3), _GREY, dtype=torch.uint8),
        )

    def put(self, place: ViewSlice, view: LiftedView, colours: SceneColours) -> None:
        """Take one view's answer."""
        features = place.thinned(view.lifted[0].features.values)
        if tuple(features.shape) == (self.unit.shape[1], place.grid.rows, place.grid.cols):
            self.directions[place.cells] = torch.from_numpy(to_bytes(colours.pca.picture(features))).reshape(-1, 3)
            # Of length 0 is what says nothing: it is like nothing.
            self.unit[place.cells] = torch.nn.functional.normalize(features.flatten(1).T, dim=1).half()
        # An embedding lies on the cells, and is coloured with them.
        if view.prediction.kind != "embedding":
            picture = colours.picture(_small(view.prediction, place))
            self.prediction[place.pixels] = torch.from_numpy(to_bytes(picture)).reshape(-1, 3)


def _small(prediction: Prediction, place: ViewSlice) -> Prediction:
    """Return a prediction at the size of the small picture; labels stay labels."""
    height, width = prediction.is_valid.shape
    rows = ((torch.arange(place.picture.height) + 0.5) * height / place.picture.height).long()
    cols = ((torch.arange(place.picture.width) + 0.5) * width / place.picture.width).long()
    values = prediction.values[..., rows[:, None], cols[None]]
    return Prediction(prediction.kind, values, prediction.is_valid[rows[:, None], cols[None]])
