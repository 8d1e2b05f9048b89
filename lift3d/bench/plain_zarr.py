"""The arrays of a product as plain Zarr on a local disk: no manifest, no marker, nothing checked but Zarr's own CRC.

Nothing of lift3d is stored so. It is what products are measured against.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Shaped
from zarr.codecs import Crc32cCodec
from zarr.storage import LocalStore

from lift3d.storage.packed import compressor_of


def write_plain(folder: Path, name: str, values: Shaped[np.ndarray, "..."], dims: tuple[str, ...]) -> None:
    """Write one array with the chunks and codecs that it has in a product; see ``products.write_product``."""
    array: zarr.Array[Any] = zarr.create_array(
        LocalStore(folder),
        name=name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=values.shape,
        compressors=(compressor_of(values.dtype), Crc32cCodec()),
        fill_value=np.nan,
        dimension_names=dims,
        config={"write_empty_chunks": True},
    )
    array[...] = values


def read_plain(folder: Path, name: str) -> Shaped[np.ndarray, "..."]:
    """Read one array."""
    return np.asarray(zarr.open_array(LocalStore(folder, read_only=True), path=name, mode="r")[...])
