"""Strokes that a person drew on one view: the file, and the feature cells that lie under them.

A file is JSON::

    {"view": "0003", "size": [480, 640], "object": "cup",
     "strokes": [{"points": [[212.5, 240], [230, 251]], "radius": 4, "positive": true},
                 {"points": [[30, 40]], "radius": 4, "positive": false}]}

``size`` is the height and width of the image that was drawn on; points are (u, v) in its pixels from the outer corner
of the top-left one, so that strokes serve every height at which the view is encoded. A click is a stroke of one point.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.errors import ConfigError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import nearest_cells

_EXPECTED = (
    '{"view": id, "size": [height, width], "object": name, '
    '"strokes": [{"points": [[u, v], ...], "radius": r, "positive": true}, ...]}'
)
_STRICT = ConfigDict(frozen=True, extra="forbid")
# Points along a stroke per cell, so that none that it crosses is stepped over.
_POINTS_PER_CELL = 4


class Stroke(BaseModel):
    """A stroke: corners (u, v) of a polyline, and how far it reaches to either side, pixels; positive on the object."""

    model_config = _STRICT
    points: tuple[tuple[FiniteFloat, FiniteFloat], ...] = Field(min_length=1)
    radius: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    positive: bool = True


class StrokeFile(BaseModel):
    """All strokes of one object on the view ``view``, drawn at height and width ``size``; at least one is positive."""

    model_config = _STRICT
    view: str = Field(min_length=1)
    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    object: str = Field(default="object", min_length=1)
    strokes: tuple[Stroke, ...]

    @property
    def image_size(self) -> ImageSize:
        """Size of the image that was drawn on."""
        return ImageSize(*self.size)


def read_strokes(path: Path) -> StrokeFile:
    """Read a file of strokes; ConfigError if it is malformed, leaves the image, or has no positive stroke."""
    try:
        strokes = StrokeFile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read strokes from '{path}' ({error}); expected a file with {_EXPECTED}.") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, entry['loc'])) or 'the file'}: {entry['msg']}" for entry in error.errors()
        )
        raise ConfigError(f"'{path}' holds no strokes ({wrong}); expected {_EXPECTED}.") from error
    height, width = strokes.size
    for number, stroke in enumerate(strokes.strokes):
        for u, v in stroke.points:
            if not (0 <= u <= width and 0 <= v <= height):
                raise ConfigError(
                    f"'{path}': stroke {number} has the point ({u:g}, {v:g}), outside of the image of {width}×{height} "
                    "pixels that it says it was drawn on. Points are (u, v), size is [height, width]."
                )
    if not any(stroke.positive for stroke in strokes.strokes):
        raise ConfigError(
            f"'{path}' has {len(strokes.strokes)} strokes and none is positive; draw at least one on the object."
        )
    return strokes


def cells_under(stroke: Stroke, drawn_on: ImageSize, encoded: ImageSize, grid: FeatureGrid) -> Bool[Tensor, "row col"]:
    """Return the cells that a stroke crosses, and those with their centre within its radius.

    The grid lies on an image of the size ``encoded``, the stroke on the same image at the size ``drawn_on``.
    """
    scale = torch.tensor([drawn_on.width / encoded.width, drawn_on.height / encoded.height])
    strides, origin = (grid.stride_u, grid.stride_v), (grid.origin_u, grid.origin_v)
    centers = cell_centers(grid.rows, grid.cols, strides, origin) * scale
    along = _points_along(stroke, min(grid.stride_u * float(scale[0]), grid.stride_v * float(scale[1])))
    is_near = torch.cdist(centers.reshape(-1, 2), along).amin(1) <= stroke.radius
    # A grid may end before the image does: what lies beyond its border counts as the border's.
    low = torch.tensor(origin)
    high = low + torch.tensor(strides) * torch.tensor([grid.cols, grid.rows])
    inside = torch.minimum(torch.maximum(along / scale, low), high)
    crossed = nearest_cells(inside, grid.rows, grid.cols, strides, origin)
    is_near[crossed[crossed >= 0]] = True
    return is_near.reshape(grid.rows, grid.cols)


def _points_along(stroke: Stroke, cell_px: float) -> Float[Tensor, "point 2"]:
    """Return points of the polyline, close enough that no cell of this size is stepped over."""
    points = torch.tensor(stroke.points, dtype=torch.float32)
    pieces = [points]
    for start, end in pairwise(points):
        count = 1 + int(_POINTS_PER_CELL * torch.linalg.vector_norm(end - start) / cell_px)
        share = torch.linspace(0, 1, count + 1)[:, None]
        pieces.append(start + share * (end - start))
    return torch.cat(pieces)
