"""What views' 2D masks say of pieces of the surface: how much of each piece lies in which mask of which view.

Letters: a layer is one label map of one view, of which a view that segments at several levels has several; a column is
one mask of a layer. Ids of masks mean nothing beyond their layer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray
from scipy.sparse import csr_array, hstack

# Of a pixel that none of the masks of its layer has.
UNCLAIMED = -1
# How much a view counts that has one of two pieces in a mask, and the other in none.
_MISSED = 0.1
# Pairs that are compared at once: their rows are dense.
_PAIRS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class ViewMasks:
    """What one view says of the points that it sees.

    Attributes:
        point: Numbers of the points that it sees well.
        layers: Of each label map, the mask of these points; UNCLAIMED where they are in none.
    """

    point: Int[ndarray, " seen"]
    layers: Sequence[Int[ndarray, " seen"]]


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """Points of each piece in each mask; memory is 8 bytes per piece and layer, and 12 per mask that shares points.

    Attributes:
        points: Of each piece.
        shared: Points of a piece that a column's mask has.
        layer: Of each column.
        view: Of each layer.
        seen: Points of a piece that a layer's view sees.
        claimed: Those of them that are in any of its masks.
    """

    points: Float[ndarray, " piece"]
    shared: csr_array
    layer: Int[ndarray, " column"]
    view: Int[ndarray, " layer"]
    seen: Float32[ndarray, "piece layer"]
    claimed: Float32[ndarray, "piece layer"]

    @classmethod
    def of(cls, piece: Int[ndarray, " point"], views: Iterable[ViewMasks]) -> "Claims":
        """Count, one view after the other."""
        count = int(piece.max(initial=-1)) + 1
        layer: list[int] = []
        of_view: list[int] = []
        shared, seen, claimed = [], [], []
        for number, view in enumerate(views):
            own = piece[view.point]
            for labels in view.layers:
                is_in = labels != UNCLAIMED
                known, column = np.unique(labels[is_in], return_inverse=True)
                cells = (np.ones(len(column)), (own[is_in], column.reshape(-1)))
                shared.append(csr_array(cells, shape=(count, len(known))))
                layer += [len(of_view)] * len(known)
                of_view.append(number)
                seen.append(np.bincount(own, minlength=count).astype(np.float32))
                claimed.append(np.bincount(own[is_in], minlength=count).astype(np.float32))
        empty = np.zeros((0, count), dtype=np.float32)
        return cls(
            np.bincount(piece, minlength=count).astype(np.float64),
            csr_array(hstack(shared)) if layer else csr_array((count, 0)),
            np.array(layer, dtype=np.int64),
            np.array(of_view, dtype=np.int64),
            np.stack(seen, axis=1) if seen else empty.T,
            np.stack(claimed, axis=1) if claimed else empty.T,
        )

    def joined(self, group: Int[ndarray, " piece"]) -> "Claims":
        """Return those of groups of pieces; a group that is empty has no points."""
        gather = csr_array((np.ones(len(group)), (group, np.arange(len(group)))), shape=(len(group), len(group)))
        return Claims(
            gather @ self.points,
            csr_array(gather @ self.shared),
            self.layer,
            self.view,
            (gather @ self.seen).astype(np.float32),
            (gather @ self.claimed).astype(np.float32),
        )

    def agreement(
        self, one: Int[ndarray, " pair"], other: Int[ndarray, " pair"]
    ) -> tuple[Float[ndarray, " pair"], Float[ndarray, " pair"]]:
        """Return how far views that see both of two pieces have them in one mask, and how much of them they saw.

        Of a layer: the cosine between the shares of either piece that each of its masks has, so that pieces which are
        split alike agree. Layers count by the smaller of the shares of the pieces that their view sees. Where one piece
        is in a mask and the other in none, they do not agree, but that counts less: the other may have been missed.
        Where neither is in any, nothing is said. What was seen is the sum of these weights, in views.
        """
        found = [
            self._of_pairs(one[start : start + _PAIRS_AT_ONCE], other[start : start + _PAIRS_AT_ONCE])
            for start in range(0, len(one), _PAIRS_AT_ONCE)
        ]
        return (
            np.concatenate([agreed for agreed, _ in found] or [np.zeros(0)]),
            np.concatenate([saw for _, saw in found] or [np.zeros(0)]),
        )

    def _of_pairs(
        self, one: Int[ndarray, " pair"], other: Int[ndarray, " pair"]
    ) -> tuple[Float[ndarray, " pair"], Float[ndarray, " pair"]]:
        alike = self._by_layer(csr_array(self.shared[one].multiply(self.shared[other])))
        norms = [np.sqrt(self._by_layer(csr_array(self.shared[rows].power(2)))) for rows in (one, other)]
        cosine = _ratio(alike, norms[0] * norms[1])
        visible = np.minimum(*(self.seen[rows] / np.maximum(self.points[rows, None], 1) for rows in (one, other)))
        a, b = (_ratio(self.claimed[rows], self.seen[rows]) for rows in (one, other))
        both = visible * a * b
        total = (both + _MISSED * visible * (a + b - 2 * a * b)).sum(1)
        layers_per_view = max(1, len(self.view)) / max(1, len(np.unique(self.view)))
        return _ratio((cosine * both).sum(1), total), total / layers_per_view

    def best_overlap(self) -> Float[ndarray, " piece"]:
        """Return how well single views' masks match each piece: its IoU with the best one, the mean over views.

        Among the points that a view sees; views count by the share of the piece that they see. 0 where none sees any.
        """
        mask_points = np.asarray(self.shared.sum(0)).reshape(-1)
        cells = self.shared.tocoo()
        row, col = cells.coords
        union = self.seen[row, self.layer[col]] + mask_points[col] - cells.data
        view_count = int(self.view.max(initial=-1)) + 1
        best = np.zeros((len(self.points), view_count))
        np.maximum.at(best, (row, self.view[self.layer[col]]), _ratio(cells.data, union))
        visible = np.zeros_like(best)
        visible[:, self.view] = self.seen / np.maximum(self.points[:, None], 1)
        return _ratio((best * visible).sum(1), visible.sum(1))

    def _by_layer(self, columns: csr_array) -> Float[ndarray, "row layer"]:
        """Return sums over the columns of each layer."""
        cells = columns.tocoo()
        row, col = cells.coords
        place = row * len(self.view) + self.layer[col]
        summed = np.bincount(place, cells.data, columns.shape[0] * len(self.view))
        # Of no entries sums are integers.
        return np.asarray(summed.reshape(columns.shape[0], len(self.view)), dtype=np.float64)


def _ratio(part: Float[ndarray, "*shape"], whole: Float[ndarray, "*shape"]) -> Float[ndarray, "*shape"]:
    """Return the ratio, 0 where there is nothing."""
    return np.asarray(np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0))
