"""Pieces of the surface joined into masks by what all views say of them, from the surest pair to the least sure.

Two neighbours are joined by three grounds, one number each: how far the views have them in one 2D mask (agreement, 0 to
1), how much the surface bends where they meet (root of the mean of ``PointGraph.bend``), and how far their mean colours
differ (CIELAB, in units of 100). Joined pieces are asked again as one, so that a part which few views tell apart is
judged by all that they say of the whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.sparse import csr_array

from lift3d.geometry.mutual_pairs import mutual_groups
from lift3d.surface.masks.claims import Claims, ViewMasks
from lift3d.surface.masks.graph import PointGraph, segmented

# Of points that are in no mask.
NO_MASK = -1
# Pieces that are joined: finer than things, so that few hold a part of two.
_PIECE_SCALE, _SMALLEST_PIECE = 0.15, 30
# Where less than this many views see both of two pieces, nothing is known of them, which is neither for nor against.
_FEWEST_VIEWS, _UNKNOWN = 0.2, 0.5
# What a bend of one, or colours 100 apart, weigh against views that agree; hue tells more than lightness, which light
# changes, too. Found on computed rooms (seeds 1 to 4) and shelf.
_BEND_WEIGHT, _LAB_WEIGHTS = 1.0, (1.0, 1.35, 1.35)
_JOINED_FROM = 0.05
# Smaller masks are noise, as are those of which views claim less than this share, and those that no 2D mask resembles.
_FEWEST_POINTS, _CLAIMED, _LEAST_CONFIDENCE = 30, 0.1, 0.05


@dataclass(frozen=True, slots=True, eq=False)
class MergedMasks:
    """Masks of points.

    Attributes:
        ids: Of each point; NO_MASK if it is in none. 0 is that of most points.
        confidence: Of each mask, in [0, 1]: how well single views' 2D masks match it where they see it (mean IoU).
        seen: Share of each mask that each view sees.
    """

    ids: Int[ndarray, " point"]
    confidence: Float[ndarray, " mask"]
    seen: Float[ndarray, "mask view"]


def merged_masks(graph: PointGraph, views: Iterable[ViewMasks]) -> MergedMasks:
    """Return masks on which views agree.

    Independent of the order of views and of what masks are called; memory is that of ``Claims``.
    """
    piece = pieces_of(graph)
    return _named(*joined(graph, piece, Claims.of(piece, views)))


def pieces_of(graph: PointGraph) -> Int[ndarray, " point"]:
    """Return the piece of each point: what is joined, and never cut."""
    return segmented(graph, _PIECE_SCALE, _SMALLEST_PIECE)


def joined(graph: PointGraph, piece: Int[ndarray, " point"], claims: Claims) -> tuple[Int[ndarray, " point"], Claims]:
    """Join pieces, each with the neighbour that it goes with best if that holds for both, until no pair is sure."""
    count = len(claims.points)
    group = piece
    colour = np.stack([np.bincount(piece, graph.lab[:, axis], count) for axis in range(3)], axis=1)
    while True:
        pairs, bend = _borders(graph, group, count)
        one, other = pairs.T
        agreed, saw = claims.agreement(one, other)
        mean = colour / np.maximum(claims.points[:, None], 1)
        score = (
            np.where(saw > _FEWEST_VIEWS, agreed, _UNKNOWN)
            - _BEND_WEIGHT * bend
            - np.linalg.norm((mean[one] - mean[other]) * _LAB_WEIGHTS, axis=1)
        )
        into = mutual_groups(one, other, score, _JOINED_FROM, count)
        if into is None:
            return group, claims
        group, claims = into[group], claims.joined(into)
        gather = csr_array((np.ones(count), (into, np.arange(count))), shape=(count, count))
        colour = gather @ colour


def _borders(
    graph: PointGraph, group: Int[ndarray, " point"], count: int
) -> tuple[Int[ndarray, "pair 2"], Float[ndarray, " pair"]]:
    """Return pairs of groups that touch, and how much the surface bends between them."""
    ends = np.sort(group[graph.edges], axis=1)
    is_border = ends[:, 0] != ends[:, 1]
    key, number, edges = np.unique(
        ends[is_border, 0] * count + ends[is_border, 1], return_inverse=True, return_counts=True
    )
    bend = np.sqrt(np.bincount(number.reshape(-1), graph.bend[is_border], len(key)) / edges)
    return np.stack([key // count, key % count], axis=1), bend


def _named(group: Int[ndarray, " point"], claims: Claims) -> MergedMasks:
    """Return groups that are masks: large enough, and claimed by the views that see them; most points first."""
    seen = claims.seen.sum(1)
    confidence = claims.best_overlap()
    is_mask = (claims.points >= _FEWEST_POINTS) & (claims.claimed.sum(1) > _CLAIMED * seen)
    is_mask &= confidence >= _LEAST_CONFIDENCE
    first = np.full(len(claims.points), len(group))
    np.minimum.at(first, group, np.arange(len(group)))
    order = np.array(sorted(np.nonzero(is_mask)[0], key=lambda one: (-claims.points[one], first[one])), dtype=np.int64)
    rank = np.full(len(claims.points), NO_MASK)
    rank[order] = np.arange(len(order))
    visible = np.zeros((len(order), int(claims.view.max(initial=-1)) + 1))
    visible[:, claims.view] = claims.seen[order] / claims.points[order, None]
    return MergedMasks(rank[group], confidence[order], visible)
