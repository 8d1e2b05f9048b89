"""Stage II's network: from what an operator's features at the taps say of one another to new weights.

Letters: a token is a tap of one cell. The network sees scalars that compare taps, never a channel; its answer is
weights over the same raw features: a head of its own for features, how far their sum is to move towards the guide, and
how dear that is on each tap, which ``residual.solve`` then finds.

Source:
    Separate blending weights of colours and features, and a residual from a corrector guided by view-consistent
    colours: Lift3D, CVPR 2024, figure 2. That the residual is a combination of raw features, found in closed form, is
    our own way to serve any channel count.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

TAP_INPUTS = 30
TOKEN_WIDTH = 32
_LAYERS, _HEADS = 2, 2
STATE_CHANNELS = 12
# A tap can gain or lose at most a factor of e to this power against the weight it came with.
_MOST_TILT = 8.0
_LOWEST = -1e4
# What a residual costs before anything is learned. Own choice, flat within a factor of three.
_PENALTY = 0.003


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """Weights that sum to 1 over each cell's taps, and the log of the price of moving each of them.

    ``trust`` is how far the consensus of these weights is to move towards the guide, in [0, 1].
    """

    weight: Float[Tensor, "cell tap"]
    log_price: Float[Tensor, "cell tap"]
    trust: Float[Tensor, "cell 1"]


class TapAttention(nn.Module):
    """Attention over the taps of a cell, then a small MLP; both residual, normalised first."""

    def __init__(self, width: int, head_count: int) -> None:
        super().__init__()
        self.head_count = head_count
        self.before = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.between = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(
        self, tokens: Float[Tensor, "cell tap width"], is_tap: Bool[Tensor, "cell tap"]
    ) -> Float[Tensor, "cell tap width"]:
        """Return tokens that have looked at the other taps of their cell."""
        cells, taps, width = tokens.shape
        heads = self.qkv(self.before(tokens)).reshape(cells, taps, 3, self.head_count, width // self.head_count)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        # Finite, so that a cell without any tap stays finite, too.
        bias = torch.where(is_tap, 0.0, _LOWEST)[:, None, None, :]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        tokens = tokens + self.out(seen.transpose(1, 2).reshape(cells, taps, width))
        update: Tensor = self.mlp(self.between(tokens))
        return tokens + update


class Corrector(nn.Module):
    """New weights for one operator's taps, and the price of a residual on each."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(TAP_INPUTS, TOKEN_WIDTH)
        self.embed_state = nn.Linear(STATE_CHANNELS, TOKEN_WIDTH, bias=False)
        self.layers = nn.ModuleList(TapAttention(TOKEN_WIDTH, _HEADS) for _ in range(_LAYERS))
        self.tilt = nn.Linear(TOKEN_WIDTH, 1)
        self.price = nn.Linear(TOKEN_WIDTH, 1)
        self.trust = nn.Linear(TOKEN_WIDTH, 1)
        for last in (self.tilt, self.price, self.trust):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        nn.init.constant_(self.price.bias, math.log(_PENALTY))

    def forward(
        self,
        inputs: Float[Tensor, "cell tap input"],
        state: Float[Tensor, "cell state"],
        weight: Float[Tensor, "cell tap"],
        is_tap: Bool[Tensor, "cell tap"],
    ) -> Correction:
        """Return new weights, and how far and how dearly to leave them.

        Inputs are what each tap's features say, and where it lies; state is that of the guide at the cell. Taps of
        weight 0 can be reached by the residual only.
        """
        tokens = self.embed(inputs) + self.embed_state(state)[:, None]
        for layer in self.layers:
            tokens = layer(tokens, is_tap)
        has_weight = is_tap & (weight > 0)
        tilt = _MOST_TILT * torch.tanh(self.tilt(tokens)[..., 0] / _MOST_TILT)
        logit = torch.where(has_weight, weight.clamp(min=1e-9).log() + tilt, _LOWEST)
        price = self.price(tokens)[..., 0].clamp(-12, 6)
        present = is_tap[..., None].to(tokens.dtype)
        of_cell = (tokens * present).sum(1) / present.sum(1).clamp(min=1)
        trust = torch.sigmoid(self.trust(of_cell))
        return Correction(torch.softmax(logit, dim=-1) * has_weight, price, trust)
