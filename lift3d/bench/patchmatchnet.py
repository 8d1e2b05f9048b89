"""PatchmatchNet with its published weights: a learned peer that our geometry is measured against.

Source:
    Wang, Galliani, Vogel, Speciale & Pollefeys, PatchmatchNet: Learned Multi-View Patchmatch Stereo, CVPR 2021; the
    hyperparameters are those of the published evaluation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lift3d.bench.patchmatchnet_layers import Layers, folded, pyramid, refined
from lift3d.bench.patchmatchnet_stages import STAGES, Matching, Stage, match
from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import DepthRange
from lift3d.errors import ConfigError
from lift3d.geometry.plane_sweep import Sweep
from lift3d.geometry.rays import cell_centers

# Three halvings.
_COARSEST = 8

Posed = tuple[Camera, Float[Tensor, "3 height width"]]


@dataclass(frozen=True, slots=True, eq=False)
class PatchmatchNet:
    """Depth of a view from its neighbours.

    The random first hypotheses of the paper are replaced by the middles of their intervals: equal inputs give equal
    depth.
    """

    layers: Layers

    @classmethod
    def load(cls, path: Path) -> "PatchmatchNet":
        """Read a published checkpoint (its ``model`` is the state dict, keys with or without ``module.``)."""
        try:
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")["model"]
        except (OSError, EOFError, RuntimeError, UnpicklingError, KeyError, TypeError) as error:
            raise ConfigError(f"'{path}' holds no weights of PatchmatchNet, as its authors publish them.") from error
        return cls(folded({key.removeprefix("module."): value for key, value in checkpoint.items()}))

    @torch.inference_mode()
    def estimate(
        self,
        target: Camera,
        image: Float[Tensor, "3 height width"],
        sources: Sequence[Posed],
        depth_range: DepthRange,
    ) -> tuple[Float[Tensor, "height width"], Float[Tensor, "height width"]]:
        """Estimate the target's depth.

        Args:
            target: Its camera, at the image's size.
            image: sRGB in [0, 1].
            sources: Neighbours, best at baselines of some degrees.
            depth_range: In the target; hypotheses are made and kept within it.

        Returns:
            z-depth in world units, and in [0, 1] how far the last four neighbouring hypotheses hold the probability.

        Raises:
            ConfigError: If there are no sources.
        """
        if not sources:
            raise ConfigError("PatchmatchNet needs at least one source, got none; give the target's neighbours.")
        own, *others = (_fitted(*posed) for posed in ((target, image), *sources))
        features = [pyramid(self.layers, pixels) for _, pixels in (own, *others)]
        cameras = [camera for camera, _ in (own, *others)]
        coarsest, *finer = STAGES
        found = match(self.layers, coarsest, _matching(coarsest, features, cameras, depth_range), None)
        for stage in finer:
            found = match(self.layers, stage, _matching(stage, features, cameras, depth_range), found)
        z = refined(self.layers, own[1], found.z, depth_range)
        return _resized(z, target.size), _resized(found.confidence, target.size)


def _fitted(camera: Camera, image: Float[Tensor, "3 height width"]) -> Posed:
    """Return the view with sides that three halvings divide."""
    height, width = (max(1, round(side / _COARSEST)) * _COARSEST for side in image.shape[-2:])
    size = ImageSize(height, width)
    if camera.size == size:
        return camera, image
    return camera.resized(size), F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]


def _cells(camera: Camera, stride: int) -> Camera:
    """Return the camera whose pixels are cells: of stride s, the cell r looks at the pixel s·r."""
    smaller = camera.resized(ImageSize(camera.size.height // stride, camera.size.width // stride))
    K = smaller.K.clone()
    K[:2, 2] += 0.5 - 0.5 / stride
    return replace(smaller, K=K)


def _matching(
    stage: Stage, features: Sequence[Mapping[int, Tensor]], cameras: Sequence[Camera], depth_range: DepthRange
) -> Matching:
    target, *sources = (by_stage[stage.number] for by_stage in features)
    own, *others = (_cells(camera, 2**stage.number) for camera in cameras)
    uv = cell_centers(own.size.height, own.size.width)
    return Matching(target, sources, Sweep.through(uv, own, others), (1 / depth_range.far, 1 / depth_range.near))


def _resized(values: Float[Tensor, "row col"], size: ImageSize) -> Float[Tensor, "height width"]:
    if values.shape == (size.height, size.width):
        return values
    return F.interpolate(values[None, None], (size.height, size.width), mode="bilinear")[0, 0]
