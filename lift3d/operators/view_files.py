"""Answers that were computed elsewhere, a file per view: ``files:FOLDER?pattern={view}.{name}.png&names=mug,book``.

pattern: file of a view in the folder (default ``{view}.png``), with ``{name}`` where there is one per name. names: what
the channels mean, in the words of the scene's labels; none for one channel. kind: masks (the default with names),
scalar (without), labels (the strongest name), or image (without names: pictures in colour, such as a generator or an
editor of images made of each view). Files are images of 8 or 16 bits, read as 0 to 1, or .npy of numbers, in the
proportions of the view; they lie over the view as it is used, without lens distortion.

Nothing is run, so a picture that is lifted cannot be shown to anything: lifters that are guided let all views vote.
"""

import glob
import mmap
import struct
import tokenize
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from PIL import Image
from skimage.io import imread
from torch import Tensor

from lift3d.domain.camera import ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap, SceneState
from lift3d.domain.keys import ViewId, digest, digest_bytes
from lift3d.domain.lifted import Prediction, PredictionKind
from lift3d.errors import ConfigError, ContractError, SceneError
from lift3d.operators.answers import Unfitted, as_prediction, pixel_grid, pixel_map, resized
from lift3d.operators.names import OperatorName
from lift3d.operators.protocol import OperatorSpec

_COLORS = 3
# With names and without, the default first.
_KINDS: tuple[tuple[PredictionKind, ...], ...] = ("masks", "scalar", "labels"), ("scalar", "masks", "image")
_OPTIONS = ("pattern", "names", "kind", "licence")
# As of photographs.
_MOST_PIXELS = 178_956_970
# Of numpy, which reads headers by Python's own parser, and of decoders.
UNREADABLE = (
    *(OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError, RecursionError, KeyError, IndexError),
    *(struct.error, tokenize.TokenError, zlib.error, Image.DecompressionBombError),
)
# Sides of file and view may differ in proportion by rounding only.
_LARGEST_STRETCH = 0.02


class ViewFiles(Unfitted):
    """Reads what a network said of each view."""

    def __init__(self, name: OperatorName) -> None:
        name.check(_OPTIONS, "a folder with a file per view")
        self._folder = Path(name.argument).expanduser()
        self._names = name.listed("names")
        self._pattern = name.option("pattern", "{view}.png")
        kinds: tuple[PredictionKind, ...] = (
            ("masks", "scalar", "labels") if self._names else ("scalar", "masks", "image")
        )
        kind = name.choice("kind", kinds)
        if ("{name}" in self._pattern) != bool(self._names) or "{view}" not in self._pattern:
            raise ConfigError(
                f"Operator '{name}': pattern must have {{view}}, and {{name}} exactly if names are given; got "
                f"'{self._pattern}' and {len(self._names)} names."
            )
        self.spec = OperatorSpec(
            name=str(name),
            stage_version=1,
            prediction_kind=kind,
            licence=name.option("licence", "unknown"),
            weights_digest=_digest_of(self._folder, self._pattern),
            channel_count=_COLORS if kind == "image" else max(1, len(self._names)),
            is_precomputed=True,
            label_names=self._names,
            threshold_source="other views" if kind == "masks" else "",
        )

    def read(self, view: ViewId, size: ImageSize) -> tuple[FeatureMap, ...]:
        """Return what the files of a view say, a cell per pixel; SceneError if they cannot be read or do not fit."""
        names = self._names or ("",)
        channels = [self._channels(self._pattern.format(view=view, name=name), view, size) for name in names]
        return (pixel_map(torch.cat(channels)),)

    def grids(self, size: ImageSize) -> tuple[FeatureGrid, ...]:
        """Return where the cells of a target of a size sit: one on every pixel."""
        return (pixel_grid(size),)

    def encode(self, image: Float[Tensor, "3 height width"]) -> tuple[FeatureMap, ...]:
        """Refuse: files answer for the views of a scene, not for any image."""
        raise ContractError(f"Operator '{self.spec.name}' has files of views; it cannot say anything of another image.")

    def decode(self, features: tuple[FeatureMap, ...], state: SceneState, size: ImageSize) -> Prediction:
        """Return the channels at the pixels, as the kind wants them."""
        return as_prediction(self.spec.prediction_kind, features[0].values, size)

    def _channels(self, file_name: str, view: ViewId, size: ImageSize) -> Float[Tensor, "channel height width"]:
        path = self._folder / file_name
        try:
            values = _numbers(path)
        except UNREADABLE as error:
            said = f"cannot be read ({error}); expected an image or .npy for every view."
            raise SceneError(
                f"Operator '{self.spec.name}': file '{path}' of view '{view}' {said}", view=view
            ) from error
        is_picture = self.spec.prediction_kind == "image"
        # What is behind a picture's fourth channel, transparency, is not asked for.
        fits = values.ndim == 3 and values.shape[2] in (_COLORS, _COLORS + 1) if is_picture else values.ndim == 2
        stretch = values.shape[0] * size.width / (values.shape[1] * size.height) if fits else 0.0
        if abs(stretch - 1) > _LARGEST_STRETCH:
            wanted = "height, width and 3 colours" if is_picture else "one channel"
            raise SceneError(
                f"Operator '{self.spec.name}': file '{path}' has shape {values.shape}; expected {wanted} in the "
                f"proportions of view '{view}' ({size}).",
                view=view,
            )
        channels = values[..., :_COLORS].transpose(2, 0, 1) if is_picture else values[None]
        return resized(torch.from_numpy(channels.astype(np.float32)), size)


def _digest_of(folder: Path, pattern: str) -> str:
    """Return a digest of the content of all files of a pattern."""
    paths = sorted(folder.glob(glob.escape(pattern).format(view="*", name="*"))) if folder.is_dir() else []
    if not paths:
        raise ConfigError(f"There is no file '{pattern}' in '{folder}'; expected one per view, {{view}} being its id.")
    return digest([[path.name, _digest_file(path)] for path in paths])


def _digest_file(path: Path) -> str:
    """Digest what a file holds without holding it."""
    if not path.stat().st_size:
        return digest_bytes(b"")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return digest_bytes(content)


def _numbers(path: Path) -> ndarray:
    """Return real numbers as they are, and integers of images as shares of the largest there are."""
    values = numbers_in(path)
    return values if path.suffix == ".npy" else _as_shares(values)


def numbers_in(path: Path) -> ndarray:
    """Return what a file holds, after a look at how much that is; what is mapped is read as it is looked at.

    One of ``UNREADABLE`` if it is no image and no .npy of real numbers.
    """
    if path.suffix == ".npy":
        values: ndarray = np.lib.format.open_memmap(path, mode="r")
        _require_pixels(values.size)
        if values.dtype.kind not in "buif" or not values.size:
            raise ValueError(f"it holds {values.size} values of {values.dtype}, not real numbers")
        return values
    with Image.open(path) as image:
        _require_pixels(image.width * image.height)
    return np.asarray(imread(path))


def _require_pixels(count: int) -> None:
    if count > _MOST_PIXELS:
        raise ValueError(f"it has {count} pixels; at most {_MOST_PIXELS} are read")


def _as_shares(values: ndarray) -> ndarray:
    """Return integers as shares of the largest that their type holds."""
    if not np.issubdtype(values.dtype, np.unsignedinteger):
        raise ValueError(f"pixels are {values.dtype}, not unsigned integers")
    return values.astype(np.float32) / np.iinfo(values.dtype).max
