"""The residual of stage II: the cheapest change of weights that brings a cell's features near what is wanted.

Letters: g are the (reduced) features at the taps, y what they are to come near (between consensus and guide, see
docs/inside/learned-lifter.md), v the weights to start from, w those returned, d the price of moving a weight. ``w =
argmin |Σ w g − y|² / channels + Σ d (w − v)²`` where weights sum to 1.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Light taps are dear to move, but not infinitely so.
_LEAST_WEIGHT = 0.01


def solve(
    g: Float[Tensor, "cell tap channel"],
    y: Float[Tensor, "cell channel"],
    v: Float[Tensor, "cell tap"],
    log_price: Float[Tensor, "cell tap"],
    is_tap: Bool[Tensor, "cell tap"],
) -> Float[Tensor, "cell tap"]:
    """Return weights that sum to 1 where ``v`` does; differentiable in ``v`` and the price.

    Source:
        Ridge regression with one linear constraint, by its Lagrangian (Boyd & Vandenberghe, Convex Optimization,
        2004, §10.1.1).
    """
    present = is_tap.to(g.dtype)
    at = g * present[..., None]
    gram = at @ at.transpose(1, 2) / g.shape[2]
    toward = (at @ y[..., None])[..., 0] / g.shape[2]
    # 1. Normal equations; absent taps have an equation of their own, whose solution is 0.
    price = torch.where(is_tap, log_price.exp() / (v.detach() + _LEAST_WEIGHT), 1.0)
    # A trace of the Gram matrix keeps rounding from making it indefinite when taps read nearly the same.
    price = price + 1e-5 * gram.diagonal(dim1=1, dim2=2).sum(-1, keepdim=True)
    factor = torch.linalg.cholesky(gram + torch.diag_embed(price))
    right = torch.stack([toward + price * v * present, present], dim=-1)
    free, along = torch.cholesky_solve(right, factor).unbind(-1)
    # 2. The multiplier that makes the change sum to 0.
    missing = (v.sum(-1) - free.sum(-1)) / along.sum(-1).clamp(min=1e-12)
    return (free + missing[:, None] * along) * present
