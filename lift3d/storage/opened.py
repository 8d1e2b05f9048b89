"""Reading a committed product: arrays, or regions of them, compared with the manifest as they are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from jaxtyping import Shaped

from lift3d.errors import DamagedProductError, UnknownNameError
from lift3d.storage import commit as protocol
from lift3d.storage.layout import ARRAYS_FOLDER
from lift3d.storage.location import Store
from lift3d.storage.manifest import Manifest
from lift3d.storage.verified import VerifiedStore

GROUP_FILE = "zarr.json"

# What Zarr's codecs raise when content does not decode: CRC-32C a ValueError, Zstd a RuntimeError.
_CODEC_ERRORS = (ValueError, RuntimeError)


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A committed product, every byte of it compared with its manifest when read.

    Attributes:
        store: Where it lies.
        commit: Its marker.
        manifest: What it consists of.
    """

    store: Store
    commit: protocol.Commit
    manifest: Manifest

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The product's attributes."""
        return self.manifest.attrs

    @property
    def url(self) -> str:
        """URL of the Zarr group for ``xarray.open_zarr``, which checks CRCs but not for missing chunks."""
        return self.store.url_of(f"{self.commit.folder}/{ARRAYS_FOLDER}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        parts = (key.split("/") for key in self.manifest.entries)
        return tuple(sorted(part[1] for part in parts if len(part) == 3 and part[2] == GROUP_FILE))

    def array(self, name: str) -> Shaped[np.ndarray, "..."]:
        """Return one array.

        Raises:
            UnknownNameError: If the product has no such array.
            DamagedProductError: If a chunk is missing or damaged; names it.
        """
        return self.read(name, ())

    def read(self, name: str, region: tuple[slice | int, ...]) -> Shaped[np.ndarray, "..."]:
        """Return a region of one array; axes that are not given are read whole.

        Raises:
            UnknownNameError: If the product has no such array.
            DamagedProductError: If a chunk is missing or damaged; names it.
        """
        if name not in self.names:
            raise UnknownNameError.of("array", name, self.names)
        try:
            return self._decoded(name, region)
        except _CODEC_ERRORS:
            # A part of a shard has no checksum in the manifest: read it once more, as all else is.
            try:
                return self._decoded(name, region)
            except _CODEC_ERRORS as error:
                path = self.commit.path
                raise DamagedProductError(
                    f"Array '{name}' of {self.url} does not decode ({error}); it is damaged. "
                    f"Delete the product {self.store.url_of(path)} and run again.",
                    product=path,
                ) from error

    def to_xarray(self) -> Any:
        """Return the product as an ``xarray.Dataset`` that reads, and verifies, when values are asked for."""
        import xarray  # slow to import, and most readers do not need it

        return xarray.open_zarr(self._view(), chunks=None, consolidated=True, zarr_format=3)

    def _decoded(self, name: str, region: tuple[slice | int, ...]) -> Shaped[np.ndarray, "..."]:
        return np.asarray(zarr.open_array(self._view(), path=name, mode="r")[(*region, ...)])

    def _view(self) -> VerifiedStore:
        start = f"{ARRAYS_FOLDER}/"
        entries = {key.removeprefix(start): entry for key, entry in self.manifest.entries.items()}
        return VerifiedStore(self.store, f"{self.commit.folder}/{ARRAYS_FOLDER}", entries, read_only=True)


def open_product(store: Store, path: str) -> Product:
    """Open a committed product.

    Raises:
        ProductMissingError: If it was never committed.
        DamagedProductError: If its marker or manifest is damaged.
    """
    commit = protocol.require_commit(store, path)
    return Product(store, commit, protocol.read_manifest(store, commit))
