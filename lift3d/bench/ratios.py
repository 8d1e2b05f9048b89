"""A figure with its interval over views: a mean, or a ratio of means."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from lift3d.tables.comparison import interval

NOT_A_NUMBER = float("nan")
RESAMPLES = 5_000


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and the 95 % interval of the bootstrap over views, or pairs of views; NaN where there is none."""

    value: float
    low: float = NOT_A_NUMBER
    high: float = NOT_A_NUMBER


def mean_of(values: Float64[np.ndarray, " item"]) -> Figure:
    """Return the mean of what each view or pair of views gives."""
    return Figure(float(values.mean()), *interval(values)) if len(values) else Figure(NOT_A_NUMBER)


def ratio(part: Float64[np.ndarray, " item"], whole: Float64[np.ndarray, " item"], seed: int = 0) -> Figure:
    """Return Σ part / Σ whole of paired values; both are drawn together (Efron & Tibshirani 1993, §10.3)."""
    if not len(whole) or whole.sum() <= 0:
        return Figure(NOT_A_NUMBER)
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, len(whole), (RESAMPLES, len(whole)))
    low, high = np.quantile(part[drawn].sum(1) / whole[drawn].sum(1), [0.025, 0.975])
    return Figure(float(part.sum() / whole.sum()), float(low), float(high))
