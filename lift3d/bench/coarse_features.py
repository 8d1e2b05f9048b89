"""A 2D model's features as the page on learning compares them: the first cut, on cells that are no finer than 4 px."""

from dataclasses import replace

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.errors import ConfigError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample
from lift3d.operators.answers import Encoder
from lift3d.operators.protocol import Operator

# Features of every pixel are means over cells of so many: guided lifters take seconds per target of them otherwise.
FINEST_PX = 4.0


class CoarseFeatures(Encoder):
    """What a model says before it decodes anything, which is then its answer."""

    def __init__(self, operator: Operator) -> None:
        spec = operator.spec
        if spec.quantity not in ("invariant", "label") or 0 in spec.color_cuts:
            raise ConfigError(
                f"'{spec.name}' gives {spec.quantity}, expected features that mean the same in all views."
            )
        self._operator = operator
        self.spec = replace(
            spec, stage_version=1000 + spec.stage_version, prediction_kind="embedding", quantity="invariant",
            further_cuts=(), color_cuts=(), decodes_cells=False, label_names=(), restores=False,
        )  # fmt: skip

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the first cut, without global tokens."""
        one, size = self._operator.encode(image)[0], ImageSize(*image.shape[-2:])
        return (coarsened(FeatureMap(one.values, one.grid), size),)


def coarsened(one: FeatureMap, size: ImageSize) -> FeatureMap:
    """Return means over cells of FINEST_PX where a map's own are finer."""
    if min(one.grid.stride_u, one.grid.stride_v) >= FINEST_PX:
        return one
    # Odd, so that means lie where cells do.
    rows, cols = (2 * round((FINEST_PX / stride - 1) / 2) + 1 for stride in (one.grid.stride_v, one.grid.stride_u))
    padding = (rows // 2, cols // 2)
    mean = F.avg_pool2d(one.values.float()[None], (rows, cols), 1, padding, count_include_pad=False)[0]
    grid = FeatureGrid.covering(size, FINEST_PX)
    return FeatureMap(sample(mean, cell_centers(*grid.lattice), *one.grid.placement), grid)
