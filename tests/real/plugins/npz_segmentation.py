"""Two real segmentation networks as plug-ins, as a user would write them: ``--plugin PATH:mosaic --operator
mosaic``.

Both know the 32 classes of ADE20K's reduced set, take 512×512 pixels and give logits at a stride of 4. The
networks and the small interpreter that runs them are found through LIFT3D_TEST_DATA.
"""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import EMPTY_STATE, FeatureMap, SceneState
from lift3d.domain.keys import ViewId, digest_bytes
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ConfigError
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.sampling import sample
from lift3d.operators.cell_lattice import CellLattice
from lift3d.operators.preprocessing import Placement
from lift3d.operators.protocol import OperatorSpec

# On the kitchen capture, with mosaic, stretching to the square beats keeping the aspect with mirrored or grey
# borders (mIoU 0.64 against 0.62 and 0.60); with deeplabv3 the three are within 0.02.
NETWORK_SIZE = ImageSize(512, 512)
CLASS_COUNT = 32
# The networks enlarge their logits by TensorFlow's old rule, pixel j from cell j/4: cell i speaks for pixel 4i.
LATTICE = CellLattice(stride=4, first=0.5)


class NpzSegmenter:
    """Semantic segmentation; the logits are lifted, the labels are their argmax."""

    def __init__(self, name: str, file_name: str) -> None:
        data = _test_data()
        weights = data / "models" / "mlperf_coral" / file_name
        self._graph = _interpreter(data / "tools" / "npz_graph.py").NpzGraph(str(weights))
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
            channel_count=CLASS_COUNT,
            stride_px=4.0,
        )

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Return the logits of the 32 classes."""
        placement = Placement.stretched(ImageSize(*image.shape[-2:]), NETWORK_SIZE)
        pixels = (placement.apply(image) * 255).round().clamp(0, 255).to(torch.uint8)
        self._graph(pixels.permute(1, 2, 0)[None], upto=self._last_op)
        logits = self._graph.acts[self._logits][0].permute(2, 0, 1)
        return (placement.to_image(logits, LATTICE),)

    def fit_scene(self, maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
        """Return the empty state."""
        return EMPTY_STATE

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the likeliest class of each pixel."""
        grid = features[0].grid
        logits = sample(
            features[0].values,
            cell_centers(size.height, size.width),
            (grid.stride_u, grid.stride_v),
            (grid.origin_u, grid.origin_v),
        )
        return Prediction("labels", logits.argmax(0), torch.ones(size.height, size.width, dtype=torch.bool))


def mosaic() -> NpzSegmenter:
    """Build MOSAIC."""
    return NpzSegmenter("mosaic", "mosaic_ade20k32.npz")


def deeplabv3() -> NpzSegmenter:
    """Build DeepLab v3 on MobileNet v2."""
    return NpzSegmenter("deeplabv3", "deeplabv3_mnv2_ade20k32.npz")


def _test_data() -> Path:
    root = os.environ.get("LIFT3D_TEST_DATA")
    if not root:
        raise ConfigError("LIFT3D_TEST_DATA is not set; it must name the folder with models/ and tools/.")
    return Path(root)


def _interpreter(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("npz_graph", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"There is no interpreter of .npz networks at '{path}'.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
