"""Encode: features of one view, as they are stored."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.domain.scene import Frame
from lift3d.errors import ContractError, NonFiniteError, SceneError
from lift3d.operators.protocol import BatchOperator, Operator, PrecomputedOperator
from lift3d.pipeline.rounding import HALF_MAX

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
    with _promised(operator, view), torch.inference_mode():
        if isinstance(operator, PrecomputedOperator):
            maps = operator.read(view, frame.camera.size)
        else:
            maps = operator.encode(_seen(frame))
        return _settled(operator, maps, frame.image.device, on_clamped)


def encode_together(
    operator: Operator, frames: Mapping[ViewId, Frame], on_clamped: Callable[[int], None] = lambda count: None
) -> dict[ViewId, tuple[FeatureMap, ...]]:
    """Return features as ``encode_view`` of the first of some views of one size, as many as fit at once.

    Half of them are tried again where the device's memory does not suffice. SceneError if one alone does not fit.
    """
    names = [*frames]
    while True:
        try:
            if len(names) == 1 or not isinstance(operator, BatchOperator):
                return {names[0]: encode_view(operator, frames[names[0]], names[0], on_clamped)}
            with torch.inference_mode():
                found = operator.encode_batch(torch.stack([_seen(frames[name]) for name in names]))
            together = {}
            for name, maps in zip(names, found, strict=True):
                with _promised(operator, name):
                    together[name] = _settled(operator, maps, frames[name].image.device, on_clamped)
            return together
        except RuntimeError as error:
            device = frames[names[0]].image.device
            if device.type == "cpu" or "out of memory" not in str(error).lower():
                raise
            if len(names) == 1:
                size, said = frames[names[0]].camera.size, str(error).splitlines()[0]
                raise SceneError(
                    f"Operator '{operator.spec.name}' does not fit into the memory of {device} with one view of "
                    f"{size.height}×{size.width}: {said} Lower --image-height, or free the device of other processes.",
                    operator=operator.spec.name,
                    view=names[0],
                ) from error
            names = names[: len(names) // 2]
        if device.type == "cuda":
            # What the failed attempt held is given back before the next one.
            torch.cuda.empty_cache()


@contextmanager
def _promised(operator: Operator, view: ViewId) -> Iterator[None]:
    """Name the operator and the view in what a model breaks its promise by."""
    try:
        yield
    except ContractError as error:
        if not view or error.view:
            raise
        raise type(error)(f"View '{view}': {error}", operator=operator.spec.name, view=view) from error


def _seen(frame: Frame) -> Float[Tensor, "3 height width"]:
    """Return what a model is shown: no pixel that is none."""
    image = torch.where(frame.is_valid, frame.image, _mean_colour(frame)[:, None, None])
    if frame.is_empty is None:
        return image
    # The same in every view: a mean of its own would make views disagree.
    return torch.where(frame.is_empty, BACKGROUND, image)


def _settled(
    operator: Operator, maps: tuple[FeatureMap, ...], device: torch.device, on_clamped: Callable[[int], None]
) -> tuple[FeatureMap, ...]:
    rounded = tuple(_rounded_to_half(one, operator.spec.name, device) for one in maps)
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


def _rounded_to_half(feature_map: FeatureMap, name: str, device: torch.device) -> FeatureMap:
    """Return a map rounded, on the device: libraries of the host, and files, answer there."""
    values, tokens = feature_map.values.to(device), feature_map.global_tokens
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteError(
            f"Operator '{name}' gave NaN or infinite features; expected finite float32.", operator=name
        )
    return FeatureMap(_half(values), feature_map.grid, None if tokens is None else _half(tokens.to(device)))


def _half(values: Tensor) -> Tensor:
    # Contiguous like what is read back: kernels may sum another memory layout in another order.
    return values.clamp(-HALF_MAX, HALF_MAX).half().float().contiguous()


def _mean_colour(frame: Frame) -> Float[Tensor, "3"]:
    """Colour that stands in for pixels without a measurement, so that borders make no false edges of black."""
    count = frame.is_valid.sum()
    if count == 0:
        raise ContractError("A view without one valid pixel reached the encoder.")
    return (frame.image * frame.is_valid).sum(dim=(1, 2)) / count
