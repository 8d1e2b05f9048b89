"""Operators that break their promises, each in one way: plug-ins for tests."""

import os
from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.operators.protocol import OperatorSpec
from tests.support.operators import IdentityOperator


class Odd(IdentityOperator):
    """The image, changed by ``spoil``."""

    def __init__(self, name: str, spoil: Callable[[Tensor], Tensor], channel_count: int = 3) -> None:
        self.spec = OperatorSpec(name=name, stage_version=1, prediction_kind="image", channel_count=channel_count)
        self._spoil = spoil

    def encode(self, image):
        return (FeatureMap(self._spoil(image), FeatureGrid(*image.shape[1:], 1.0, 1.0)),)


def beyond_float16(image):
    return torch.where(torch.arange(image.shape[1])[:, None] % 4 == 0, 1e6, image)


def tell(image):
    """Say what it should keep to itself."""
    raise RuntimeError(f"cannot log in with {os.environ['RAY_AUTH_TOKEN']}")


def run_out(image):
    """Say what a device says that has no memory left, while images are wide."""
    if image.shape[2] > 30:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    return image


calls = count(1)
nan = Odd("odd_nan", lambda image: image / 0 * 0)
half = Odd("odd_half", lambda image: image.half())
double = Odd("odd_double", lambda image: image.double())
size = Odd("odd_size", lambda image: image[:, 1:].clone())
channels = Odd("odd_channels", lambda image: torch.cat([image, image]))
# It promises no number of channels, and gives another one for every image.
sometimes = Odd("odd_sometimes", lambda image: image.repeat(next(calls), 1, 1), channel_count=0)
constant = Odd("odd_constant", lambda image: torch.full_like(image, 0.25))
large = Odd("odd_large", beyond_float16)
fickle = Odd("odd_fickle", lambda image: image * next(calls) / (1 + next(calls)))
talkative = Odd("odd_talkative", tell)
memory = Odd("odd_memory", run_out)
