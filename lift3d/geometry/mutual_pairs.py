"""Neighbours that choose each other: a step of joining pieces from the surest pair to the least sure."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def mutual_groups(
    one: Int[ndarray, " pair"],
    other: Int[ndarray, " pair"],
    score: Float[ndarray, " pair"],
    least: float,
    count: int,
) -> Int[ndarray, " piece"] | None:
    """Return the piece that each of ``count`` pieces goes into; None if no pair is joined.

    A pair is joined if its score is ``least`` or more, and the best that either piece has.
    """
    best = np.full(count, -np.inf)
    np.maximum.at(best, one, score)
    np.maximum.at(best, other, score)
    is_joined = (score >= least) & (score >= best[one]) & (score >= best[other])
    if not is_joined.any():
        return None
    into = np.arange(count)
    # Of equal scores a chain may come: all of it goes into its first.
    into[other[is_joined]] = one[is_joined]
    while (into[into] != into).any():
        into = into[into]
    return into
