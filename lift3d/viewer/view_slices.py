"""Where cells and pixels of all views lie in the two long lists that the viewer colours.

Letters: a *cell* is one feature cell of one view, a *pixel* one pixel of a view's small picture; both are counted
through all views, row-major within a view.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.geometry.rays import cell_centers
from lift3d.results.cloud import cells_at, whole_grid

# Pictures at cameras are this high at most: some hundred of them are on the page at once.
PICTURE_HEIGHT = 72
# Features of one kind (2D or lifted), held as float16; a click reads all of them within a tenth of a second.
FEATURE_BYTES = 128 * 2**20
# Cells of all views: more than a few for each point of the surface tell a click nothing, and keep it waiting.
MOST_CELLS = 2_000_000


@dataclass(frozen=True, slots=True, eq=False)
class ViewSlice:
    """The part of the lists that is one view's: where its cells and its pixels stand in the lists of all.

    Of the operator's cells every ``step``-th in both directions is held; ``grid`` is theirs.
    """

    target: str
    camera: Camera
    grid: FeatureGrid
    step: int
    picture: ImageSize
    cells: slice
    pixels: slice

    def thinned(self, values: Shaped[Tensor, "*channel row col"]) -> Shaped[Tensor, "*channel held_row held_col"]:
        """Return the values of the cells that are held."""
        offset = self.step // 2
        return values[..., offset :: self.step, offset :: self.step]

    def cells_at(self, uv: Float[Tensor, "*batch 2"]) -> Int[Tensor, "*batch"]:
        """Return the cell of each pixel of the image; beyond the grid's edge, the nearest cell."""
        return cells_at(self.grid, uv.float()) + int(self.cells.start)

    def pixels_at(self, uv: Float[Tensor, "*batch 2"]) -> Int[Tensor, "*batch"]:
        """Return the small picture's pixel for each pixel of the image."""
        whole = whole_grid(self.camera.size, self.picture.height, self.picture.width)
        return cells_at(whole, uv.float()) + int(self.pixels.start)

    def pixel_centers(self) -> Float[Tensor, "row col 2"]:
        """Return where the centres of the small picture's pixels are in the image."""
        size, picture = self.camera.size, self.picture
        return cell_centers(picture.height, picture.width, (size.width / picture.width, size.height / picture.height))


def view_slices(views: Sequence[tuple[str, Camera, FeatureGrid]], channel_count: int) -> tuple[ViewSlice, ...]:
    """Lay the views out one after the other; where features would exceed FEATURE_BYTES, cells are thinned."""
    cell_bytes = 2 * max(1, channel_count)
    whole = sum(grid.cell_count for _, _, grid in views)
    step = max(1, math.ceil(math.sqrt(whole * cell_bytes / FEATURE_BYTES)), math.ceil(math.sqrt(whole / MOST_CELLS)))
    slices, cell, pixel = [], 0, 0
    for target, camera, grid in views:
        own = min(step, grid.rows, grid.cols)
        held = _every(grid, own)
        picture = camera.size.with_height(min(PICTURE_HEIGHT, camera.size.height))
        cells = slice(cell, cell + held.cell_count)
        pixels = slice(pixel, pixel + picture.height * picture.width)
        slices.append(ViewSlice(target, camera, held, own, picture, cells, pixels))
        cell, pixel = cells.stop, pixels.stop
    return tuple(slices)


def _every(grid: FeatureGrid, step: int) -> FeatureGrid:
    """Return the grid of every step-th cell, each standing for the block around it."""
    if step == 1:
        return grid
    offset = step // 2
    rows, cols = len(range(offset, grid.rows, step)), len(range(offset, grid.cols, step))
    shift = offset + 0.5 - step / 2
    return FeatureGrid(
        rows,
        cols,
        grid.stride_u * step,
        grid.stride_v * step,
        grid.origin_u + shift * grid.stride_u,
        grid.origin_v + shift * grid.stride_v,
    )
