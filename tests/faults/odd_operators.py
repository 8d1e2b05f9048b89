"""Operators that break their promises, each in one way: plug-ins for tests."""

import os

import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.operators.protocol import OperatorSpec
from tests.support.operators import IdentityOperator


def spec_of(name: str, channel_count: int = 3) -> OperatorSpec:
    return OperatorSpec(name=name, stage_version=1, prediction_kind="image", channel_count=channel_count)


class Odd(IdentityOperator):
    """The image, changed by ``spoil``."""

    def encode(self, image):
        return (FeatureMap(self.spoil(image), FeatureGrid(*image.shape[1:], 1.0, 1.0)),)

    def spoil(self, image):
        return image


class NotANumber(Odd):
    spec = spec_of("odd_nan")

    def spoil(self, image):
        return image / 0 * 0


class Half(Odd):
    spec = spec_of("odd_half")

    def spoil(self, image):
        return image.half()


class Double(Odd):
    spec = spec_of("odd_double")

    def spoil(self, image):
        return image.double()


class WrongSize(Odd):
    spec = spec_of("odd_size")

    def spoil(self, image):
        return image[:, 1:].clone()


class MoreChannels(Odd):
    spec = spec_of("odd_channels")

    def spoil(self, image):
        return torch.cat([image, image])


class SometimesMoreChannels(Odd):
    """Promises no number of channels, and gives another one for every image."""

    spec = spec_of("odd_sometimes", channel_count=0)

    def __init__(self) -> None:
        self.count = 0

    def spoil(self, image):
        self.count += 1
        return image.repeat(self.count, 1, 1)


class Constant(Odd):
    spec = spec_of("odd_constant")

    def spoil(self, image):
        return torch.full_like(image, 0.25)


class TooLarge(Odd):
    """Beyond the range of float16 in every fourth row."""

    spec = spec_of("odd_large")

    def spoil(self, image):
        large = image.clone()
        large[:, ::4] = 1e6
        return large

    def decode(self, features, state, size):
        return super().decode(features, state, size)


class Fickle(Odd):
    """Another answer each time."""

    spec = spec_of("odd_fickle")

    def spoil(self, image):
        return image * torch.rand(1, generator=torch.Generator().manual_seed(torch.seed() % 2**31))


class Talkative(Odd):
    """Says what it should keep to itself."""

    spec = spec_of("odd_talkative")

    def spoil(self, image):
        raise RuntimeError(f"cannot log in with {os.environ['RAY_AUTH_TOKEN']}")


class NoMemory(Odd):
    """What a device says that has no memory left, while images are high."""

    spec = spec_of("odd_memory")

    def spoil(self, image):
        if image.shape[2] > 30:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return image
