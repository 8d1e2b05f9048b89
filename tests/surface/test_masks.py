"""2D masks merged on points: hand-made planes and claims, where the answer is known."""

import numpy as np
import pytest

from lift3d.surface.masks.claims import Claims, ViewMasks
from lift3d.surface.masks.graph import PointGraph, numbered, segmented
from lift3d.surface.masks.merge import NO_MASK, merged_masks

SIDE = 20
RED, GREEN = (0.5, 0.6, 0.4), (0.5, -0.6, 0.4)


def striped(*colours: tuple[float, float, float]) -> PointGraph:
    """A flat row of squares of points, each in a colour of its own."""
    x, y = np.meshgrid(np.arange(SIDE * len(colours), dtype=float), np.arange(SIDE, dtype=float))
    xyz = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    lab = np.array(colours)[(xyz[:, 0] // SIDE).astype(int)]
    return PointGraph.of(xyz, np.tile([0.0, 0.0, 1.0], (len(xyz), 1)), 1.0, lab)


def square(graph: PointGraph) -> np.ndarray:
    """Which square each point is in."""
    return (graph.xyz[:, 0] // SIDE).astype(int)


def seen_all(graph: PointGraph, *layers: np.ndarray) -> ViewMasks:
    return ViewMasks(np.arange(len(graph.xyz)), layers)


def test_a_corner_that_is_hollow_parts_segments_and_one_that_juts_out_does_not():
    x, y = (one.ravel() for one in np.meshgrid(np.arange(20.0), np.arange(20.0)))
    floor, wall = np.stack([x + 1, y, 0 * x], axis=1), np.stack([0 * x, y, x + 1], axis=1)
    normals = np.concatenate([np.tile([0.0, 0, 1], (400, 1)), np.tile([1.0, 0, 0], (400, 1))])
    # One direction in two equal points would be a line: a corner of 45° parts the two by little.
    tilted = np.concatenate([np.tile([0.0, 0, 1], (400, 1)), np.tile([0.7071, 0, 0.7071], (400, 1))])
    hollow = PointGraph.of(np.concatenate([floor, wall]), normals, 1.0)
    assert (numbered(np.repeat([0, 1], 400)) == segmented(hollow, 3.0, 10)).all()
    outward = PointGraph.of(np.concatenate([floor, -wall + [1, 19, 0]]), tilted, 1.0)
    assert outward.bend.max() < hollow.bend.max()


def test_small_segments_are_joined_with_what_they_are_likest():
    graph = striped(RED, GREEN)
    assert len(np.unique(segmented(graph, 0.1, 10))) == 2
    assert len(np.unique(segmented(graph, 0.1, SIDE * SIDE + 1))) == 1


def test_views_decide_whether_two_colours_are_one_thing():
    graph = striped(RED, (0.5, 0.4, 0.4))
    apart = merged_masks(graph, [seen_all(graph, square(graph)), seen_all(graph, 5 - square(graph))])
    assert (apart.ids == square(graph)).all()
    assert apart.confidence == pytest.approx([1.0, 1.0])
    one = merged_masks(graph, [seen_all(graph, 0 * square(graph)), seen_all(graph, 9 + 0 * square(graph))])
    assert (one.ids == 0).all()


def test_what_a_view_splits_is_whole_if_most_views_say_so():
    graph = striped(RED, (0.5, 0.5, 0.4), GREEN)
    whole, split = np.minimum(square(graph), 1) * 0 + (square(graph) == 2), square(graph)
    found = merged_masks(graph, [seen_all(graph, whole), seen_all(graph, whole), seen_all(graph, split)])
    assert (found.ids == (square(graph) == 2)).all()


def test_neither_the_order_of_views_nor_names_of_masks_matter():
    graph, rng = striped(RED, (0.5, 0.4, 0.4), GREEN, (0.4, -0.6, 0.4)), np.random.default_rng(0)
    views = []
    for _ in range(5):
        of_square = rng.integers(0, 3, 4)
        point = np.nonzero(rng.random(len(graph.xyz)) < 0.7)[0]
        views.append(ViewMasks(point, [of_square[square(graph)[point]]]))
    first = merged_masks(graph, views)
    renamed = [ViewMasks(one.point, [10 - 3 * one.layers[0]]) for one in reversed(views)]
    other = merged_masks(graph, renamed)
    assert (first.ids == other.ids).all()
    assert first.confidence == pytest.approx(other.confidence)


def test_what_no_view_claims_is_in_no_mask():
    graph = striped(RED, GREEN)
    found = merged_masks(graph, [seen_all(graph, np.where(square(graph) == 0, 4, -1))])
    assert (found.ids == np.where(square(graph) == 0, 0, NO_MASK)).all()
    nothing = merged_masks(graph, [])
    assert (nothing.ids == NO_MASK).all()
    assert len(nothing.confidence) == 0


def test_no_points_and_one_point_are_no_masks():
    for count in (0, 1):
        graph = PointGraph.of(np.zeros((count, 3)), np.zeros((count, 3)), 1.0)
        assert merged_masks(graph, [seen_all(graph, np.zeros(count, dtype=int))]).ids.tolist() == [NO_MASK] * count


def test_agreement_is_what_views_see_and_say():
    # Two pieces of four points. One view sees all and has them in one mask; one sees half of each and parts them.
    piece = np.repeat([0, 1], 4)
    views = [
        ViewMasks(np.arange(8), [np.zeros(8, dtype=int)]),
        ViewMasks(np.array([0, 1, 4, 5]), [np.array([0, 0, 1, 1])]),
    ]
    claims = Claims.of(piece, views)
    agreed, saw = claims.agreement(np.array([0]), np.array([1]))
    # (1 · 1 + 0 · 1/2) / (1 + 1/2)
    assert agreed.tolist() == pytest.approx([2 / 3])
    assert saw.tolist() == pytest.approx([1.5])
    # IoU with the best mask: 4/8 in the first view, 1 in the second, which counts half.
    assert claims.best_overlap().tolist() == pytest.approx([(0.5 + 0.5) / 1.5] * 2)
    joined = claims.joined(np.array([0, 0]))
    assert joined.points.tolist() == [8.0, 0.0]
    assert joined.best_overlap()[0] == pytest.approx((1.0 + 0.5 * 0.5) / 1.5)


def test_where_neither_is_in_a_mask_nothing_is_said():
    piece = np.repeat([0, 1], 2)
    nobody = ViewMasks(np.arange(4), [np.full(4, -1)])
    one_of_them = ViewMasks(np.arange(4), [np.array([3, 3, -1, -1])])
    pair = (np.array([0]), np.array([1]))
    assert [one.tolist() for one in Claims.of(piece, [nobody]).agreement(*pair)] == [[0.0], [0.0]]
    assert [one.tolist() for one in Claims.of(piece, [one_of_them]).agreement(*pair)] == [[0.0], [0.1]]
