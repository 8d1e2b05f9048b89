"""A ray-by-ray network of GNT's size, as a reference of time: what a renderer costs that pays for every sample.

Written from the published description with random weights; nothing here is trained or lifts anything. Its inputs, the
sources' features at every sample, are given: reading them, and the network that computes them, would come on top.

Letters: a sample is a point of a ray, f the feature of a sample in one source, q the state of a sample.

Source:
    Is Attention All That NeRF Needs? (GNT), ICLR 2023: eight blocks of view and ray transformers of width 64,
    subtraction attention over the sources of a sample, then self-attention over the samples of a ray.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lift3d.errors import ConfigError

# Colour and 32 channels of a CNN; direction difference and cosine; 10 octaves of sine and cosine of place and
# direction, with themselves.
FEATURE_CHANNELS, ANGLE_CHANNELS, PLACE_CHANNELS = 35, 4, 2 * 3 * (2 * 10 + 1)
_NARROW = 8
_WIDEN = 4
_HIDDEN_SCORE = -1e9


@dataclass(frozen=True, slots=True)
class RayTransformerSize:
    """What multiply-adds depend on.

    Attributes:
        source_count: Views that a sample is read in.
        sample_count: Samples of a ray.
        width: Channels of the state.
        block_count: View and ray transformers, each.
        head_count: Heads of the self-attention.
    """

    source_count: int = 10
    sample_count: int = 64
    width: int = 64
    block_count: int = 8
    head_count: int = 4

    def __post_init__(self) -> None:
        counts = (self.source_count, self.sample_count, self.width, self.block_count, self.head_count)
        if min(counts) < 1 or self.width % self.head_count:
            raise ConfigError(f"A ray transformer needs positive sizes and a width divisible by its heads, got {self}.")

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one ray in matrix products; norms, softmax and sums are not counted."""
        width, samples = self.width, self.sample_count
        square, mlp = width * width, 2 * _WIDEN * width * width
        per_read = FEATURE_CHANNELS * width + square
        per_read_and_block = 2 * square + (ANGLE_CHANNELS * _NARROW + _NARROW * width) + 2 * _NARROW * width
        # Of a sample: query, output and MLP of the view transformer; four projections and MLP of the ray transformer;
        # its attention, all pairs of samples twice.
        per_sample_and_block = (2 * square + mlp) + (4 * square + mlp) + 2 * samples * width
        place = (width + PLACE_CHANNELS) * width + square
        reads = samples * self.source_count
        return (
            reads * (per_read + self.block_count * per_read_and_block)
            + samples * (self.block_count * per_sample_and_block + (self.block_count + 1) // 2 * place)
            + 3 * width
        )


@dataclass(frozen=True, slots=True, eq=False)
class RayBatch:
    """What the network reads of some rays.

    Attributes:
        features: The sources' features at the samples.
        angles: Direction of the ray against that of the source.
        is_seen: Whether the sample is in the source's image.
        places: Encoded position and direction of the sample.
    """

    features: Float[Tensor, "ray sample source feature"]
    angles: Float[Tensor, "ray sample source angle"]
    is_seen: Bool[Tensor, "ray sample source"]
    places: Float[Tensor, "ray sample place"]

    @classmethod
    def random(cls, ray_count: int, size: RayTransformerSize, seed: int = 0) -> "RayBatch":
        """Return rays of noise: the time does not depend on what is read."""
        generator = torch.Generator().manual_seed(seed)
        shape = (ray_count, size.sample_count, size.source_count)
        return cls(
            torch.randn(*shape, FEATURE_CHANNELS, generator=generator),
            torch.randn(*shape, ANGLE_CHANNELS, generator=generator),
            torch.rand(shape, generator=generator) < 0.9,
            torch.randn(*shape[:2], PLACE_CHANNELS, generator=generator),
        )

    def chunk(self, start: int, ray_count: int) -> "RayBatch":
        """Return some consecutive rays."""
        rays = slice(start, start + ray_count)
        return RayBatch(self.features[rays], self.angles[rays], self.is_seen[rays], self.places[rays])


class RayTransformer(nn.Module):
    """Blocks of view and ray transformers; the state sees place and direction in every second block."""

    def __init__(self, size: RayTransformerSize) -> None:
        super().__init__()
        width = size.width
        self.read = _mlp(FEATURE_CHANNELS, width, width)
        self.across_views = nn.ModuleList(_ViewTransformer(width) for _ in range(size.block_count))
        self.along_rays = nn.ModuleList(_SampleTransformer(width, size.head_count) for _ in range(size.block_count))
        self.place = nn.ModuleList(_mlp(width + PLACE_CHANNELS, width, width) for _ in range(0, size.block_count, 2))
        self.last = nn.LayerNorm(width)
        self.color = nn.Linear(width, 3)

    def forward(self, rays: RayBatch) -> Float[Tensor, "ray 3"]:
        """Return a colour per ray."""
        f = self.read(rays.features)
        hidden = torch.where(rays.is_seen, 0.0, _HIDDEN_SCORE)[..., None]
        q = f.amax(dim=2)
        for index, (across, along) in enumerate(zip(self.across_views, self.along_rays, strict=True)):
            q = across(q, f, rays.angles, hidden)
            if index % 2 == 0:
                q = self.place[index // 2](torch.cat([q, rays.places], dim=-1))
            q = along(q)
        color: Tensor = self.color(self.last(q).mean(dim=1))
        return color


class _ViewTransformer(nn.Module):
    """Subtraction attention of a sample over its sources, one weight per channel, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.angle = _mlp(ANGLE_CHANNELS, _NARROW, width)
        self.score = _mlp(width, _NARROW, width)
        self.out = nn.Linear(width, width)
        self.feed = _FeedForward(width)

    def forward(self, q: Tensor, f: Tensor, angles: Tensor, hidden: Tensor) -> Tensor:
        """Return the state after it has looked at the sources."""
        key = self.key(f)
        value = self.value(key)
        angle = self.angle(angles)
        # In place: these arrays are the largest, and memory traffic is half of the time.
        score = self.score(key.sub_(self.query(self.before(q))[:, :, None]).add_(angle))
        share = score.add_(hidden).softmax(dim=2)
        q = q + self.out(value.add_(angle).mul_(share).sum(dim=2))
        fed: Tensor = self.feed(q)
        return fed


class _SampleTransformer(nn.Module):
    """Self-attention over the samples of a ray, then an MLP."""

    def __init__(self, width: int, head_count: int) -> None:
        super().__init__()
        self.head_count = head_count
        self.before = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.feed = _FeedForward(width)

    def forward(self, q: Tensor) -> Tensor:
        """Return the state after it has looked along its ray."""
        rays, samples, width = q.shape
        heads = self.qkv(self.before(q)).reshape(rays, samples, 3, self.head_count, width // self.head_count)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        q = q + self.out(seen.transpose(1, 2).reshape(rays, samples, width))
        fed: Tensor = self.feed(q)
        return fed


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.mlp = _mlp(width, _WIDEN * width, width)

    def forward(self, q: Tensor) -> Tensor:
        """Return the state with a residual added."""
        fed: Tensor = q + self.mlp(self.before(q))
        return fed


def _mlp(channels_in: int, channels: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels_in, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels_out))
