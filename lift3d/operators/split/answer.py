"""From a network's answer, at whatever resolution it has, to a prediction of an image's size."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lift3d.domain.camera import ImageSize
from lift3d.domain.lifted import Prediction, PredictionKind
from lift3d.errors import ContractError
from lift3d.operators.answers import resized, valid_everywhere


def as_prediction(kind: PredictionKind, values: Float[Tensor, "channel row col"], size: ImageSize) -> Prediction:
    """Return images in [0, 1], labels from scores per class (or ids), scalars or masks that cover an image of a size.

    ContractError if an image has not three channels.
    """
    is_valid = valid_everywhere(size)
    if kind == "labels" and (len(values) == 1 or not values.is_floating_point()):
        ids = functional.interpolate(values[None].float(), (size.height, size.width), mode="nearest-exact")[0, 0]
        return Prediction("labels", ids.round().long(), is_valid)
    values = resized(values.float(), size)
    if kind == "labels":
        return Prediction("labels", values.argmax(0), is_valid)
    if kind == "image":
        if len(values) != 3:
            raise ContractError(f"An answer of kind 'image' has {len(values)} channels; expected 3, red first.")
        return Prediction("image", values.clamp(0, 1), is_valid)
    return Prediction(kind, values[0] if kind == "scalar" else values, is_valid)
