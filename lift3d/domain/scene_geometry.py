"""Where the surface of a scene is: depth and confidence per source view, the same for all targets and operators."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.errors import ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class ViewGeometry:
    """What one view shows of the surface, on a guide grid that covers its image.

    Attributes:
        camera: At the size that is lifted.
        grid: The guide grid, in pixels of that camera.
        z_depth: Camera z at the cell centres, world units, float32; NaN where unknown, infinite where the view shows
            that there is nothing.
        confidence: In [0, 1], how surely the depth is right; exactly 0 where it is unknown.
    """

    camera: Camera
    grid: FeatureGrid
    z_depth: Float[Tensor, "row col"]
    confidence: Float[Tensor, "row col"]

    def __post_init__(self) -> None:
        if not tuple(self.z_depth.shape) == tuple(self.confidence.shape) == self.grid.shape:
            raise ShapeError(
                f"Depth of shape {tuple(self.z_depth.shape)} and confidence of shape {tuple(self.confidence.shape)} "
                f"do not fit a grid of {self.grid.rows}×{self.grid.cols} cells."
            )
        if bool((torch.isnan(self.z_depth) & (self.confidence != 0)).any()):
            raise ShapeError("Confidence must be 0 where the depth is unknown (NaN).")


@dataclass(frozen=True, slots=True, eq=False)
class SceneGeometry:
    """The surface as the source views of a scene, in its order, show it; ``method`` estimated it.

    ``notes`` say what the user should know of how it came about, a sentence each.
    """

    method: str
    views: Mapping[ViewId, ViewGeometry]
    notes: tuple[str, ...] = ()
