"""The best weights of a linear combination, for many cells at once, from the Gram matrix of the taps' errors.

Letters: row m of D is tap m less the truth, ``gram = D Dᵀ`` per cell; weights w that sum to 1 give the squared error
``wᵀ gram w``, so no linear term is left. Padding is marked by ``is_tap`` and gets weight 0.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import one_hot

# Share of the squared error that may be left over the optimum: the error itself is then within 0.05 %.
TOLERANCE = 1e-3
# Below this share of the mean squared error of a single tap (70 dB), a fit is as good as exact.
EXACT = 1e-7
# Many times the size of the largest support; a cell that is not done by then keeps the best weights it has.
MOST_STEPS = 300
# Ridge relative to the mean squared error of a tap: taps that read nearly the same cells stay bounded.
RIDGE = 1e-6
# Keeps a support of equal taps solvable, and is too small to be seen in its error.
SUPPORT_RIDGE = 1e-10


def error_gram(
    values: Float[Tensor, "cell tap channel"], truth: Float[Tensor, "cell channel"], is_tap: Bool[Tensor, "cell tap"]
) -> Float[Tensor, "cell tap tap"]:
    """Return the Gram matrix of the taps' differences to the truth, float64; rows and columns of padding are 0."""
    difference = torch.where(is_tap[..., None], values.double() - truth[:, None].double(), 0.0)
    return difference @ difference.mT


def convex_weights(
    gram: Float[Tensor, "cell tap tap"], is_tap: Bool[Tensor, "cell tap"], *, tolerance: float = TOLERANCE
) -> Float[Tensor, "cell tap"]:
    """Return the nonnegative weights that sum to 1 and leave the least squared error; all 0 in a cell without taps.

    An active set per cell, all cells in step: the tap of the steepest descent joins the support, the support's affine
    optimum is approached until a weight reaches 0, and that tap leaves. A cell is done when its duality gap is below
    ``tolerance`` times its error, or nothing beside the error of single taps.

    Args:
        gram: From ``error_gram``.
        is_tap: False for padding.
        tolerance: Share of the squared error that may be left over the optimum.

    Source:
        Wolfe, Mathematical Programming 1976 (the nearest point of a polytope); the support as in Lawson & Hanson,
        Solving least squares problems, 1974, §23.3.
    """
    floor = EXACT * _mean_diagonal(gram, is_tap)
    squared = torch.where(is_tap, gram.diagonal(dim1=-2, dim2=-1), torch.inf)
    best = one_hot(squared.argmin(-1), gram.shape[-1]).double() * is_tap
    left = torch.nonzero(is_tap.any(-1))[:, 0]
    quadratic, may_join, weight = gram[left], is_tap[left], best[left]
    support, is_settled = weight > 0, torch.ones_like(left, dtype=torch.bool)
    for _ in range(MOST_STEPS):
        # 1. Settled cells are at the optimum of their support: either done, or the steepest tap joins.
        slope = _times(quadratic, weight)
        error = (weight * slope).sum(-1)
        steepest, joining = torch.where(may_join, slope, torch.inf).min(-1)
        best[left] = weight
        is_open = ~is_settled | (2 * (error - steepest) > tolerance * error + floor[left])
        if not bool(is_open.all()):
            left, quadratic, may_join = left[is_open], quadratic[is_open], may_join[is_open]
            weight, support, is_settled, joining = (one[is_open] for one in (weight, support, is_settled, joining))
        if not len(left):
            break
        support = support | (one_hot(joining, gram.shape[-1]).bool() & is_settled[:, None])
        # 2. Towards the affine optimum of the support, as far as no weight turns negative.
        wanted = _affine_on_support(quadratic, support)
        falling = support & (wanted <= 0)
        reach = torch.where(falling, weight / (weight - wanted).clamp(min=1e-300), 1.0)
        step = reach.amin(-1, keepdim=True)
        weight = torch.where(support, weight + step * (wanted - weight), 0.0)
        # 3. What reached 0 leaves.
        support = support & ~(falling & (reach <= step))
        weight = torch.where(support, weight, 0.0).clamp(min=0)
        is_settled = ~falling.any(-1)
    best[left] = weight
    return (best / best.sum(-1, keepdim=True).clamp(min=1e-30)).float()


def _affine_on_support(
    gram: Float[Tensor, "cell tap tap"], support: Bool[Tensor, "cell tap"]
) -> Float[Tensor, "cell tap"]:
    """Return the affine optimum of few taps per cell, solved as small as the largest support."""
    size = int(support.sum(-1).max())
    index = support.byte().topk(size, dim=-1).indices
    is_tap = support.gather(-1, index)
    rows = gram.gather(1, index[..., None].expand(-1, -1, gram.shape[-1]))
    small = rows.gather(2, index[:, None].expand(-1, size, -1)) * (is_tap[:, None] & is_tap[..., None])
    return torch.zeros_like(gram[..., 0]).scatter_(1, index, _affine(small, is_tap, SUPPORT_RIDGE))


def affine_weights(gram: Float[Tensor, "cell tap tap"], is_tap: Bool[Tensor, "cell tap"]) -> Float[Tensor, "cell tap"]:
    """Return the weights of any sign that sum to 1 and leave the least squared error; all 0 in a cell without taps.

    Equal to ``gram⁻¹ 1``, normalised; ``RIDGE`` times a tap's mean squared error is added to the diagonal, without
    which taps that read nearly the same place would get huge weights of opposite signs.
    """
    return _affine(gram, is_tap, RIDGE).float()


def _affine(
    gram: Float[Tensor, "cell tap tap"], is_tap: Bool[Tensor, "cell tap"], ridge: float
) -> Float[Tensor, "cell tap"]:
    added = (ridge * _mean_diagonal(gram, is_tap)).clamp(min=1e-30)[:, None]
    diagonal = torch.where(is_tap, added, 1.0)
    solved: Tensor = torch.linalg.solve(gram + torch.diag_embed(diagonal), is_tap.double()[..., None])[..., 0]
    total = solved.sum(-1, keepdim=True)
    return solved / torch.where(total > 0, total, 1.0)


def duality_gap(
    gram: Float[Tensor, "cell tap tap"], weight: Float[Tensor, "cell tap"], is_tap: Bool[Tensor, "cell tap"]
) -> Float[Tensor, " cell"]:
    """Return how far the squared error of convex weights can be above the least one, at most.

    Source:
        Jaggi, ICML 2013, eq. 5 (the gap of Frank and Wolfe's linearisation).
    """
    slope = _times(gram, weight)
    error = (weight * slope).sum(-1)
    steepest = torch.where(is_tap, slope, torch.inf).amin(-1)
    return 2 * (error - torch.where(torch.isfinite(steepest), steepest, error))


def _times(gram: Float[Tensor, "cell tap tap"], weight: Float[Tensor, "cell tap"]) -> Float[Tensor, "cell tap"]:
    return (gram @ weight[..., None])[..., 0]


def _mean_diagonal(gram: Float[Tensor, "cell tap tap"], is_tap: Bool[Tensor, "cell tap"]) -> Float[Tensor, " cell"]:
    return gram.diagonal(dim1=-2, dim2=-1).sum(-1) / is_tap.sum(-1).clamp(min=1)
