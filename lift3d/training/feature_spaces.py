"""Feature spaces that a lifter has never seen before: an encoder drawn at random, then channels mixed and scaled."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.errors import ShapeError
from lift3d.training.descriptors import Descriptor
from lift3d.training.random_networks import RandomConvNet, RandomViT

LEAST_CHANNELS, MOST_CHANNELS = 32, 128
_PATCHES = (8, 14, 16)
_STRIDES = (2, 4, 8, 16)


@runtime_checkable
class Encoder(Protocol):
    """What turns images into features; every one is a torch module, too."""

    channel_count: int

    def __call__(self, images: Float[Tensor, "view 3 height width"]) -> Float[Tensor, "view channel row col"]:
        """Return features of each image."""
        ...

    def grid(self, size: ImageSize) -> FeatureGrid:
        """Return where the features sit."""
        ...

    def to(self, device: torch.device | str) -> "Encoder":
        """Return the encoder on a device."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """An encoder, and a linear map of its channels that is the same in all views.

    Attributes:
        name: Kind of encoder and stride, for the record.
        encoder: Image to raw features.
        mixing: From raw channels to the channels of the space.
        offset: Added to every cell.
    """

    name: str
    encoder: Encoder
    mixing: Float[Tensor, "channel raw"]
    offset: Float[Tensor, " channel"]

    @property
    def channel_count(self) -> int:
        """Number of channels."""
        return int(self.mixing.shape[0])

    def encode(self, image: Float[Tensor, "3 height width"]) -> FeatureMap:
        """Return the features of an image on their exact grid."""
        return self.encode_views(image[None])[0]

    def encode_views(self, images: Float[Tensor, "view 3 height width"]) -> list[FeatureMap]:
        """Return the features of images of one size; each is encoded as if it were alone.

        Raises:
            ShapeError: If the images are smaller than one cell.
        """
        size = ImageSize(images.shape[2], images.shape[3])
        if min(size.height, size.width) < 2 * _STRIDES[-1]:
            raise ShapeError(f"Images to encode must have at least {2 * _STRIDES[-1]} pixels a side, got {size}.")
        with torch.no_grad():
            raw = self.encoder(images)
            mixed = torch.einsum("or,vrij->voij", self.mixing, raw) + self.offset[:, None, None]
        grid = self.encoder.grid(size)
        return [FeatureMap(values, grid) for values in mixed]

    def to(self, device: torch.device | str) -> "FeatureSpace":
        """Return the space on a device; images must be there, too."""
        return replace(
            self, encoder=self.encoder.to(device), mixing=self.mixing.to(device), offset=self.offset.to(device)
        )


def draw_feature_space(rng: np.random.Generator, stride: int | None = None) -> FeatureSpace:
    """Draw a space; equal generators give equal spaces.

    Args:
        rng: Decides everything.
        stride: 2, 4, 8 or 16; drawn if None (a vision transformer may then have 14, too).
    """
    channel_count = int(rng.choice([32, 48, 64, 96, 128]))
    kind = rng.uniform()
    drawn = int(rng.choice(_STRIDES, p=[0.15, 0.35, 0.3, 0.2]))
    patch = int(rng.choice(_PATCHES))
    encoder: Encoder
    if kind < 0.45 or (kind < 0.75 and stride is not None and stride not in _PATCHES):
        step = drawn if stride is None else stride
        # Full width at stride 2 would cost more than all deeper nets together.
        encoder = RandomConvNet(rng, step, min(channel_count, 64) if step == 2 else channel_count)
        name = f"convnet-{step}"
    elif kind < 0.75:
        step = patch if stride is None else stride
        encoder, name = RandomViT(rng, step, channel_count), f"vit-{step}"
    else:
        step = drawn if stride is None else stride
        encoder = Descriptor(rng, step)
        name = f"{encoder.name}-{step}"
    mixing, offset = draw_mixing(rng, encoder.channel_count, channel_count)
    return FeatureSpace(name, encoder, mixing, offset)


def draw_mixing(rng: np.random.Generator, raw: int, channel_count: int) -> tuple[Tensor, Tensor]:
    """Nothing, an orthogonal map or one of low rank; then channels of unequal scale, and an offset."""
    kind = rng.uniform()
    if raw >= LEAST_CHANNELS and kind < 0.35:
        mixing = np.eye(raw)
    else:
        rank = min(raw, channel_count)
        if kind > 0.75:
            rank = max(4, int(rank * rng.uniform(0.2, 0.8)))
        left = np.linalg.qr(rng.normal(size=(channel_count, rank)))[0]
        right = np.linalg.qr(rng.normal(size=(raw, rank)))[0]
        mixing = left @ right.T
    spread = float(rng.choice([0.0, 0.3, 1.0]))
    mixing = mixing * np.exp(rng.normal(0, spread, len(mixing)))[:, None]
    offset = rng.normal(0, 1, len(mixing)) * float(rng.choice([0.0, 0.0, 0.5]))
    return torch.from_numpy(mixing).float(), torch.from_numpy(offset).float()
