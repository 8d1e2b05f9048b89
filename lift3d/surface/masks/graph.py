"""Points of the surface as a graph, and its graph-based segmentation: pieces, and the baseline of merged masks.

Source:
    Felzenszwalb & Huttenlocher, Efficient Graph-Based Image Segmentation, IJCV 2004; of normals with a lighter weight
    where the surface is convex, as ScanNet's Segmentator has it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

# Neighbours of a point, at most so many spacings away.
_NEIGHBOURS, _REACH = 8, 2.0
# Of colours in CIELAB, in units of 100, beside 1 − cosine of normals: light paints edges where there are none.
_COLOUR_WEIGHT = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class PointGraph:
    """Points, and which of them are neighbours.

    Attributes:
        xyz: World coordinates.
        normals: Unit normals.
        lab: CIELAB colours in units of 100; zeros if nobody knows any.
        edges: Pairs of neighbours, the smaller number first, each once.
        bend: Of an edge, 1 − cosine of the normals, squared where the surface is convex.
    """

    xyz: Float[ndarray, "point 3"]
    normals: Float[ndarray, "point 3"]
    lab: Float[ndarray, "point 3"]
    edges: Int[ndarray, "edge 2"]
    bend: Float[ndarray, " edge"]

    @classmethod
    def of(
        cls,
        xyz: Float[ndarray, "point 3"],
        normals: Float[ndarray, "point 3"],
        spacing: float,
        lab: Float[ndarray, "point 3"] | None = None,
    ) -> "PointGraph":
        """Join each point with its nearest ones; ``spacing`` is the usual distance of neighbours."""
        count = len(xyz)
        if count < 2:
            nothing = np.zeros((0, 2), dtype=np.int64)
            return cls(xyz, normals, np.zeros((count, 3)) if lab is None else lab, nothing, np.zeros(0))
        _, near = cKDTree(xyz).query(xyz, min(_NEIGHBOURS + 1, count), distance_upper_bound=_REACH * spacing)
        own, other = np.repeat(np.arange(count), near.shape[1]), near.ravel()
        is_edge = (other < count) & (other != own)
        own, other = own[is_edge], other[is_edge]
        key = np.unique(np.minimum(own, other) * count + np.maximum(own, other))
        edges = np.stack([key // count, key % count], axis=1)
        bend = _bend(xyz, normals, edges)
        return cls(xyz, normals, np.zeros((count, 3)) if lab is None else lab, edges, bend)


def _bend(
    xyz: Float[ndarray, "point 3"], normals: Float[ndarray, "point 3"], edges: Int[ndarray, "edge 2"]
) -> Float[ndarray, " edge"]:
    one, other = edges.T
    bend = 1 - (normals[one] * normals[other]).sum(1).clip(-1, 1)
    # Normals that turn away from each other are those of one thing's edge; where they meet, two things do.
    is_convex = ((normals[other] - normals[one]) * (xyz[other] - xyz[one])).sum(1) > 0
    return np.asarray(np.where(is_convex, np.square(bend), bend))


def segmented(graph: PointGraph, scale: float, smallest: int) -> Int[ndarray, " point"]:
    """Return the segment of each point, 0 and on, in the order of their first points.

    Args:
        graph: Points and neighbours, whose edges weigh what bends there and how far colours differ.
        scale: The larger, the larger segments are (k of the paper).
        smallest: Segments of fewer points are joined with the neighbour across their lightest edge.
    """
    one, other = graph.edges.T
    weight = graph.bend + _COLOUR_WEIGHT * np.linalg.norm(graph.lab[one] - graph.lab[other], axis=1)
    order = np.argsort(weight, kind="stable")
    # Lists: a loop over single entries of arrays takes several times as long.
    firsts, seconds, weights = one[order].tolist(), other[order].tolist(), weight[order].tolist()
    parent, size, most = [*range(len(graph.xyz))], [1] * len(graph.xyz), [scale] * len(graph.xyz)

    def root(point: int) -> int:
        while parent[point] != point:
            parent[point] = parent[parent[point]]
            point = parent[point]
        return point

    for first, second, step in zip(firsts, seconds, weights, strict=True):
        a, b = root(first), root(second)
        if a != b and step <= most[a] and step <= most[b]:
            parent[b] = a
            size[a] += size[b]
            # What it may differ from a neighbour by: its own largest step, and more while it is small.
            most[a] = step + scale / size[a]
    for first, second in zip(firsts, seconds, strict=True):
        a, b = root(first), root(second)
        if a != b and min(size[a], size[b]) < smallest:
            parent[b] = a
            size[a] += size[b]
    return numbered(np.array([root(point) for point in range(len(parent))], dtype=np.int64))


def numbered(labels: Int[ndarray, " point"]) -> Int[ndarray, " point"]:
    """Return the same groups as 0, 1, … in the order in which they first appear."""
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[group.reshape(-1)])
