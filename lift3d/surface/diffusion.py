"""What is known of some cells, carried to all others along the image, but not across edges of the photograph.

Letters: with weights w and targets t of cells, conductances e of pairs of neighbours, and a shape q that is followed
where nothing is known, x minimises ``Σ w (x − t)² + Σ e ((xᵢ − xⱼ) − (qᵢ − qⱼ))²``.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

# Colour difference, summed over channels, at which a pair keeps 1/e of its conductance, and the share no edge takes.
_EDGE_SCALE, _LEAST = 0.05, 1e-4
# Keeps cells apart from all that is known at their shape.
_NOTHING = 1e-9


def diffused(
    target: Float[ndarray, "row col"],
    weight: Float[ndarray, "row col"],
    shapes: Sequence[Float[ndarray, "row col"]],
    color: Float[ndarray, "3 row col"],
    stiffness: float = 1.0,
) -> list[Float[ndarray, "row col"]]:
    """Return x for each shape; double precision, one factorisation of a sparse matrix for all of them.

    ``stiffness`` is the conductance of a pair of cells of one colour. Targets without weight are not read. About 2 kB
    per cell while it runs.

    Source:
        Screened Poisson on an image: Bhat et al., Fourier analysis of the 2D screened Poisson equation, ECCV 2008;
        conductances by contrast: Levin et al., Colorization using optimization, SIGGRAPH 2004.
    """
    # Imported when it is needed: the planner has no use for it.
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import splu

    count = target.size
    ends = _pairs(*target.shape)
    apart = np.abs(color.reshape(3, -1)[:, ends[0]] - color.reshape(3, -1)[:, ends[1]]).sum(0)
    conductance = stiffness * (np.exp(-apart / _EDGE_SCALE) + _LEAST)
    both = coo_array((conductance, (ends[0], ends[1])), shape=(count, count)).tocsc()
    neighbours = both + both.T
    laplacian = diags_array(np.asarray(neighbours.sum(0)).ravel()) - neighbours
    matrix = (laplacian + diags_array(weight.ravel() + _NOTHING)).tocsc()
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    known = np.where(weight > 0, weight * np.where(weight > 0, target, 0.0), 0.0).ravel()
    return [
        factors.solve(known + laplacian @ shape.ravel() + _NOTHING * shape.ravel()).reshape(target.shape)
        for shape in shapes
    ]


def _pairs(rows: int, cols: int) -> Int[ndarray, "2 pair"]:
    """Return the row-major numbers of cells beside and below one another."""
    number = np.arange(rows * cols).reshape(rows, cols)
    beside = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()])
    return np.concatenate([beside, np.stack([number[:-1].ravel(), number[1:].ravel()])], axis=1)
