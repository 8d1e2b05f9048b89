"""Two real segmentation networks as plug-ins, as a user would write them: ``--plugin PATH:mosaic --operator
mosaic``.

Both know the 32 classes of ADE20K's reduced set, take 512×512 pixels and give logits at a stride of 4.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import digest_bytes
from lift3d.domain.lifted import Prediction
from lift3d.operators.answers import Unfitted, at_pixels, valid_everywhere
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.preprocessing import Placement
from lift3d.operators.protocol import OperatorSpec
from tests.real.plugins.given import model_file, npz_graph

# On the kitchen capture, with mosaic, stretching to the square beats keeping the aspect with mirrored or grey
# borders (mIoU 0.64 against 0.62 and 0.60); with deeplabv3 the three are within 0.02.
NETWORK_SIZE = ImageSize(512, 512)
# The networks enlarge their logits by TensorFlow's old rule, pixel j from cell j/4: cell i speaks for pixel 4i.
LATTICE = CellLattice(stride=4, first=0.5)


class NpzSegmenter(Unfitted):
    """Semantic segmentation; the logits are lifted, the labels are their argmax."""

    def __init__(self, name: str, file_name: str) -> None:
        weights = model_file(f"mlperf_coral/{file_name}")
        self._graph = npz_graph(weights)
        # The last two operations enlarge the logits and take their argmax; both belong to decode.
        self._last_op = len(self._graph.ops) - 3
        self._logits = self._graph.ops[-2][1][0]
        self.spec = OperatorSpec(
            name=name,
            stage_version=1,
            prediction_kind="labels",
            quantity="label",
            licence="Apache-2.0",
            weights_digest=digest_bytes(weights.read_bytes()),
            channel_count=32,
            stride_px=4.0,
        )

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        placement = Placement.stretched(ImageSize(*image.shape[-2:]), NETWORK_SIZE)
        pixels = (placement.apply(image) * 255).round().clamp(0, 255).to(torch.uint8)
        self._graph(pixels.permute(1, 2, 0)[None], upto=self._last_op)
        logits = self._graph.acts[self._logits][0].permute(2, 0, 1)
        return (placement.to_image(logits, LATTICE),)

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        logits = at_pixels(features[0].values, features[0].grid, size)
        return Prediction("labels", logits.argmax(0), valid_everywhere(size))


mosaic = partial(NpzSegmenter, "mosaic", "mosaic_ade20k32.npz")
deeplabv3 = partial(NpzSegmenter, "deeplabv3", "deeplabv3_mnv2_ade20k32.npz")
