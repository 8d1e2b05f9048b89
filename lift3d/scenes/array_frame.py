"""The pixels of a view that are in memory already."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import digest, digest_bytes
from lift3d.domain.scene import UNKNOWN_LABEL, Frame
from lift3d.scenes.resampling import center_fractions, nearest, nearest_known, resize

# Raised when the same arrays would give other pixels.
_LOAD_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class ArrayFrame:
    """The pixels of one view, in memory. Depth is camera z in world units, 0 or not finite where unknown."""

    image: UInt8[ndarray, "height width 3"]
    depth: Float[ndarray, "height width"] | None = None
    mask: Bool[ndarray, "height width"] | None = None
    labels: Int64[ndarray, "height width"] | None = None

    @property
    def has_depth(self) -> bool:
        """Whether load gives z_depth."""
        return self.depth is not None

    @property
    def has_labels(self) -> bool:
        """Whether load gives labels."""
        return self.labels is not None

    @property
    def size(self) -> ImageSize:
        """Of the image."""
        return ImageSize(*self.image.shape[:2])

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        """Resize: pixels by a box filter, depth and labels to the nearest that is known."""
        values, is_seen = resize(self.image.astype(np.float32) / np.float32(255), self.mask, size)
        labels = None if self.labels is None else nearest(self.labels, center_fractions(size))[0]
        return Frame(
            image=torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)).clip(0, 1)),
            is_valid=torch.from_numpy(np.array(is_seen)),
            camera=camera.resized(size),
            z_depth=self.load_depth(camera, size),
            labels=None if labels is None else torch.from_numpy(np.where(labels < 0, UNKNOWN_LABEL, labels)),
        )

    def load_depth(self, camera: Camera, size: ImageSize) -> Float[Tensor, "height width"] | None:
        """Return z_depth alone, NaN where unknown; None without a depth map."""
        if self.depth is None:
            return None
        reach = max(0, int(self.depth.shape[0] / size.height / 2 - 0.25))
        found, is_known = nearest_known(self.depth, center_fractions(size), _tells_depth, reach)
        return torch.from_numpy(np.where(is_known, found, np.nan).astype(np.float32))

    def content_digest(self) -> str:
        """Digest of all arrays."""
        arrays = (self.image, self.depth, self.mask, self.labels)
        said = [None if one is None else [str(one.shape), digest_bytes(one.tobytes())] for one in arrays]
        return digest([_LOAD_VERSION, *said])


def _tells_depth(values: ndarray) -> ndarray:
    is_known: ndarray = np.isfinite(values) & (values > 0)
    return is_known
