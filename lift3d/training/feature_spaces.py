"""Feature spaces that a lifter has never seen before: an encoder drawn at random, then channels mixed and scaled."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.errors import ShapeError
from lift3d.training.descriptors import Descriptor
from lift3d.training.random_networks import RandomConvNet, RandomViT

_LEAST_CHANNELS = 32
_PATCHES = (8, 14, 16)
_STRIDES = (2, 4, 8, 16)

Encoder = RandomConvNet | RandomViT | Descriptor


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """An encoder, and a linear map of its channels that is the same in all views; named by kind and stride."""

    name: str
    encoder: Encoder
    mixing: Float[Tensor, "channel raw"]
    offset: Float[Tensor, " channel"]

    def encode_views(self, images: Float[Tensor, "view 3 height width"]) -> list[FeatureMap]:
        """Return the features of images of one size; each is encoded as if it were alone."""
        size = ImageSize(images.shape[2], images.shape[3])
        if min(size.height, size.width) < 2 * _STRIDES[-1]:
            raise ShapeError(f"Images to encode must have at least {2 * _STRIDES[-1]} pixels a side, got {size}.")
        with torch.no_grad():
            raw = self.encoder(images)
            mixed = torch.einsum("or,vrij->voij", self.mixing, raw) + self.offset[:, None, None]
        grid = self.encoder.grid(size)
        return [FeatureMap(values, grid) for values in mixed]


def draw_feature_space(rng: np.random.Generator) -> FeatureSpace:
    """Draw a space; equal generators give equal spaces."""
    channel_count = int(rng.choice([32, 48, 64, 96, 128]))
    kind = rng.uniform()
    stride = int(rng.choice(_STRIDES, p=[0.15, 0.35, 0.3, 0.2]))
    patch = int(rng.choice(_PATCHES))
    encoder: Encoder
    if kind < 0.45:
        # Full width at stride 2 would cost more than all deeper nets together.
        encoder = RandomConvNet(rng, stride, min(channel_count, 64) if stride == 2 else channel_count)
        name = f"convnet-{stride}"
    elif kind < 0.75:
        encoder, name = RandomViT(rng, patch, channel_count), f"vit-{patch}"
    else:
        encoder = Descriptor(rng, stride)
        name = f"{encoder.name}-{stride}"
    mixing, offset = draw_mixing(rng, encoder.channel_count, channel_count)
    return FeatureSpace(name, encoder, mixing, offset)


def draw_mixing(rng: np.random.Generator, raw: int, channel_count: int) -> tuple[Tensor, Tensor]:
    """Nothing, an orthogonal map or one of low rank; then channels of unequal scale, and an offset."""
    kind = rng.uniform()
    if raw >= _LEAST_CHANNELS and kind < 0.35:
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
