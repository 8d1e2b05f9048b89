"""Reading a committed product: arrays, or regions of them, compared with the manifest as they are read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from jaxtyping import Shaped

from lift3d.errors import DamagedProductError, UnknownNameError
from lift3d.storage import commit as protocol
from lift3d.storage.location import Store
from lift3d.storage.manifest import Manifest
from lift3d.storage.verified import CODEC_ERRORS, VerifiedStore


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A committed product, every byte of it compared with its manifest when read."""

    store: Store
    commit: protocol.Commit

    @property
    def manifest(self) -> Manifest:
        """What it consists of."""
        return self.commit.manifest

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The product's attributes."""
        return self.manifest.attrs

    @property
    def notes(self) -> list[Any]:
        """What the writer noted of each part, in order."""
        return [part.note for part in self.manifest.parts]

    @property
    def url(self) -> str:
        """URL of the Zarr group, for any reader of Zarr; those check CRCs, but not for missing chunks."""
        return self.store.url_of(self.commit.path)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(sorted(self.manifest.arrays))

    def array(self, name: str) -> Shaped[np.ndarray, "..."]:
        """Return one array."""
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
        except CODEC_ERRORS:
            # A part of a shard has no checksum in the manifest: read it once more, as all else is.
            try:
                return self._decoded(name, region)
            except CODEC_ERRORS as error:
                path = self.commit.path
                raise DamagedProductError(
                    f"Array '{name}' of {self.url} does not decode ({error}); it is damaged. "
                    f"Delete the product {self.store.url_of(path)} and run again.",
                    product=path,
                ) from error

    def to_xarray(self) -> Any:
        """Return the product as an ``xarray.Dataset`` that reads, and verifies, when values are asked for."""
        import xarray  # slow to import, and most readers do not need it

        view = VerifiedStore(self.store, self.commit)
        return xarray.open_zarr(view, chunks=None, consolidated=True, zarr_format=3)

    def _decoded(self, name: str, region: tuple[slice | int, ...]) -> Shaped[np.ndarray, "..."]:
        view = VerifiedStore(self.store, self.commit)
        return np.asarray(zarr.open_array(view, path=name, mode="r")[(*region, ...)])


def open_product(store: Store, path: str) -> Product:
    """Open a committed product.

    Raises:
        ProductMissingError: If it was never committed.
        DamagedProductError: If its group file is damaged.
    """
    return Product(store, protocol.require_commit(store, path))


def products_in(store: Store, folder: str) -> Iterator[Product]:
    """Yield the committed products of a folder; those that are damaged are left out."""
    for leaf in store.names(folder):
        try:
            commit = protocol.committed(store, f"{folder}/{leaf}")
        except DamagedProductError:
            continue
        if commit is not None:
            yield Product(store, commit)
