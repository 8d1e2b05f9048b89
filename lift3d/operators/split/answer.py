"""From a network's answer, at whatever resolution it has, to a prediction of an image's size."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.lifted import Prediction, PredictionKind
from lift3d.errors import ContractError
from lift3d.operators.answers import resized, valid_everywhere
from lift3d.operators.split.layout import Layout


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What a network's answer means.

    Attributes:
        kind: Of the prediction: images in [0, 1], labels from scores per class (or ids), scalars, masks.
        layout: How it lies over the image, when finished.
        finish: From the raw answer to that; as it is if None.
    """

    kind: PredictionKind
    layout: Layout
    finish: Callable[[Tensor], Tensor] | None = None

    def prediction(self, answer: Float[Tensor, "..."], network: ImageSize, size: ImageSize) -> Prediction:
        """Return the prediction for an image of a size from an answer to what the network saw, a batch of one.

        ContractError if the answer is no map over the image, or an image has not three channels.
        """
        values, _ = self.layout.to_cells((answer if self.finish is None else self.finish(answer)).cpu(), network)
        is_valid = valid_everywhere(size)
        if self.kind == "labels" and (len(values) == 1 or not values.is_floating_point()):
            ids = functional.interpolate(values[None].float(), (size.height, size.width), mode="nearest-exact")[0, 0]
            return Prediction("labels", ids.round().long(), is_valid)
        values = resized(values.float(), size)
        if self.kind == "labels":
            return Prediction("labels", values.argmax(0), is_valid)
        if self.kind == "image":
            if len(values) != 3:
                raise ContractError(f"An answer of kind 'image' has {len(values)} channels; expected 3, red first.")
            return Prediction("image", values.clamp(0, 1), is_valid)
        return Prediction(self.kind, values[0] if self.kind == "scalar" else values, is_valid)
