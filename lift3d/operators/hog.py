"""Histograms of oriented gradients as dense features: ``hog?cell=8``.

A feature cell is one block of 2×2 gradient cells, normalised as a whole; blocks overlap and step by one
gradient cell, so a feature sits on the corner that four gradient cells share.
"""

import torch
from jaxtyping import Float
from skimage.feature import hog
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap
from lift3d.operators.answers import Encoder
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.names import OperatorName
from lift3d.operators.preprocessing import Placement
from lift3d.operators.protocol import OperatorSpec

# Nine orientations, 8-pixel cells, blocks of 2×2 and L2-Hys: Dalal & Triggs, CVPR 2005, §6.
_ORIENTATION_COUNT = 9
_DEFAULT_CELL_PX = 8
_CELLS_PER_BLOCK = 2


class HogOperator(Encoder):
    """Block-normalised histograms of oriented gradients, of the strongest colour channel at each pixel."""

    def __init__(self, name: OperatorName) -> None:
        name.check(("cell",))
        self._cell_px = name.integer("cell", _DEFAULT_CELL_PX, least=2)
        self._lattice = CellLattice(self._cell_px, float(self._cell_px))
        self.spec = OperatorSpec(
            name=str(name),
            stage_version=1,
            prediction_kind="embedding",
            licence="BSD-3-Clause",
            channel_count=_CELLS_PER_BLOCK**2 * _ORIENTATION_COUNT,
            stride_px=float(self._cell_px),
        )

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return one histogram of 36 bins per block."""
        size = ImageSize(*image.shape[-2:])
        placement = Placement.of(size, size, self._lattice, self._cell_px)
        pixels = placement.apply(image.to(torch.float32)).permute(1, 2, 0).contiguous().numpy(force=True)
        blocks = hog(
            pixels,
            orientations=_ORIENTATION_COUNT,
            pixels_per_cell=(self._cell_px, self._cell_px),
            cells_per_block=(_CELLS_PER_BLOCK, _CELLS_PER_BLOCK),
            block_norm="L2-Hys",
            feature_vector=False,
            channel_axis=-1,
        )
        rows, cols = blocks.shape[:2]
        values = torch.from_numpy(blocks.reshape(rows, cols, -1)).permute(2, 0, 1)
        return (placement.to_image(values, self._lattice),)
