"""Strokes drawn by code, as a person would: a few on the object, some around it, one on each other thing in sight.

They come from the truth of the reference view; that of no other view is looked at. Equal labels and seeds give equal
strokes.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from lift3d.errors import SceneError
from lift3d.operators.stroke_file import Stroke, StrokeFile

# As many as a person draws in half a minute.
ON_OBJECT, AROUND = 3, 3
# Longest stroke, as a share of the larger of the image's sides.
_LENGTH = 0.08
# Strokes around the object start this near to it, as a share of the image's height: there it matters.
_NEAR = 0.15
_RADIUS_PX = 1.0
# Strokes keep off outlines, where a pixel shows both sides.
_MARGIN_PX = 2.0
_DIRECTIONS = 16

_Map = Float[np.ndarray, "height width"]
_Point = Float[np.ndarray, "2"]


def draw_strokes(labels: Int[Tensor, "height width"], label: int, view: str, name: str, seed: int = 0) -> StrokeFile:
    """Draw strokes on an object, around it, and one on each other class in sight that has room for it.

    Args:
        labels: Of the reference view.
        label: The object's.
        view: Id of the reference view.
        name: What the scene calls the object.
        seed: Which strokes.

    Raises:
        SceneError: If the object has no room for a stroke.
    """
    generator = np.random.default_rng([seed, label, *view.encode()])
    ids = labels.numpy()
    height, width = ids.shape
    room, outside = _room(ids == label), _room(ids != label)
    if room.max() <= _MARGIN_PX:
        raise SceneError(
            f"'{name}' is nowhere {2 * _MARGIN_PX:g} pixels wide on view '{view}': no stroke can be drawn on it. "
            "Choose another view or a greater height.",
            view=view,
        )
    drawn = [_stroke(generator, room, room, True) for _ in range(ON_OBJECT)]
    around = np.where(outside < _NEAR * height, outside, 0.0)
    if around.max() > _MARGIN_PX:
        drawn += [_stroke(generator, around, outside, False) for _ in range(AROUND)]
    others = [_room(ids == other) for other in np.unique(ids) if other != label]
    drawn += [_stroke(generator, other, other, False) for other in others if other.max() > _MARGIN_PX]
    return StrokeFile(view=view, size=(height, width), object=name, strokes=tuple(drawn))


def _room(is_inside: Bool[np.ndarray, "height width"]) -> _Map:
    """Return how far each pixel is from the outside, pixels."""
    distance: _Map = distance_transform_edt(is_inside)
    return distance


def _stroke(generator: np.random.Generator, starts: _Map, room: _Map, is_positive: bool) -> Stroke:
    """Return a straight stroke from a random start, in that of some directions which it can follow the longest."""
    rows, cols = np.nonzero(starts > _MARGIN_PX)
    pick = int(generator.integers(len(rows)))
    start = np.array([cols[pick] + 0.5, rows[pick] + 0.5])
    angles = generator.uniform(0, 2 * np.pi) + np.arange(_DIRECTIONS) * 2 * np.pi / _DIRECTIONS
    ends = [_end(start, np.array([np.cos(angle), np.sin(angle)]), room) for angle in angles]
    end = max(ends, key=lambda point: float(np.linalg.norm(point - start)))
    points = tuple((float(u), float(v)) for u, v in (start, end))
    return Stroke(points=points, radius=_RADIUS_PX, positive=is_positive)


def _end(start: _Point, direction: _Point, room: _Map) -> _Point:
    """Return how far a stroke may go, a pixel at a time."""
    end = start
    for _ in range(round(_LENGTH * max(room.shape))):
        following = end + direction
        col, row = np.floor(following).astype(int)
        if not (0 <= row < room.shape[0] and 0 <= col < room.shape[1]) or room[row, col] <= _MARGIN_PX:
            break
        end = following
    return end
