"""Encode: features of one view, as they are stored."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.domain.scene import Frame
from lift3d.errors import ContractError, NonFiniteError
from lift3d.operators.protocol import Operator, PrecomputedOperator

HALF_MAX = 65504.0  # Largest finite float16.
# What stands where there is nothing to be seen: white, as objects without a background are usually shown.
BACKGROUND = 1.0


def encode_view(
    operator: Operator, frame: Frame, view: ViewId = "", on_clamped: Callable[[int], None] = lambda count: None
) -> tuple[FeatureMap, ...]:
    """Return an operator's features of one view, one map per cut, exactly representable in float16.

    Features are stored as float16; rounding here, before anyone uses them, makes a run from the cache equal to a
    run that computes. ``on_clamped`` is told how many values were beyond float16 and are its largest number now, if any
    were. A picture has no id. ContractError, naming the operator and the view, if the model breaks its promise, such as
    by NaN.
    """
    try:
        if isinstance(operator, PrecomputedOperator):
            maps = operator.read(view, frame.camera.size)
        else:
            image = torch.where(frame.is_valid, frame.image, _mean_colour(frame)[:, None, None])
            if frame.is_empty is not None:
                # The same in every view: a mean of its own would make views disagree.
                image = torch.where(frame.is_empty, BACKGROUND, image)
            with torch.inference_mode():
                maps = operator.encode(image)
        # Libraries of the host, and files, answer there.
        maps = tuple(_at_work(one) for one in maps)
        rounded = tuple(_rounded_to_half(one, operator.spec.name) for one in maps)
    except ContractError as error:
        if not view or error.view:
            raise
        raise type(error)(f"View '{view}': {error}", operator=operator.spec.name, view=view) from error
    clamped = sum(int((one.values.abs() > HALF_MAX).sum()) for one in maps)
    if clamped:
        on_clamped(clamped)
    return rounded


def target_grids(operator: Operator, size: ImageSize) -> tuple[FeatureGrid, ...]:
    """Return the grids that the operator has on an image of ``size``, found by encoding a grey one."""
    if isinstance(operator, PrecomputedOperator):
        return operator.grids(size)
    with torch.inference_mode():
        return tuple(one.grid for one in operator.encode(torch.full((3, size.height, size.width), 0.5)))


def _at_work(one: FeatureMap) -> FeatureMap:
    """Return a map where the worker computes."""
    tokens = one.global_tokens
    return FeatureMap(torch.as_tensor(one.values), one.grid, None if tokens is None else torch.as_tensor(tokens))


def _rounded_to_half(feature_map: FeatureMap, name: str) -> FeatureMap:
    if not bool(torch.isfinite(feature_map.values).all()):
        raise NonFiniteError(
            f"Operator '{name}' gave NaN or infinite features; expected finite float32.", operator=name
        )
    tokens = feature_map.global_tokens
    return FeatureMap(_half(feature_map.values), feature_map.grid, None if tokens is None else _half(tokens))


def _half(values: Tensor) -> Tensor:
    # Contiguous like what is read back: kernels may sum another memory layout in another order.
    return values.clamp(-HALF_MAX, HALF_MAX).half().float().contiguous()


def _mean_colour(frame: Frame) -> Float[Tensor, "3"]:
    """Colour that stands in for pixels without a measurement, so that borders make no false edges of black."""
    count = frame.is_valid.sum()
    if count == 0:
        raise ContractError("A view without one valid pixel reached the encoder.")
    return (frame.image * frame.is_valid).sum(dim=(1, 2)) / count
