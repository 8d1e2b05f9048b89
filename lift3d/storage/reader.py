"""Reading a committed product: arrays, or regions of them, compared with the manifest as they are read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Shaped

from lift3d.errors import (
    DamagedProductError,
    Lift3dError,
    OutOfMemoryError,
    ProductMissingError,
    StoreError,
    UnknownNameError,
)
from lift3d.storage import commit as protocol
from lift3d.storage.array_form import CODEC_ERRORS, ArrayForm
from lift3d.storage.location import Store
from lift3d.storage.manifest import Manifest
from lift3d.storage.shards import shard_of, unpack_shard

# What leads to these is content: of another form, type or size.
_MISUNDERSTOOD = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, AssertionError)
# Parts of one shard that are read at the same time: a store far away answers each after a while.
_READS_TOGETHER = 8
# Along each axis; entries of the first may be listed.
Region = tuple[slice | int | list[int], ...]
# What executors say in a process that ends.
_AT_EXIT = "cannot schedule new futures"


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A committed product, every byte of it compared with its manifest when read; a part of a shard with its sum."""

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

    def read(self, name: str, region: Region) -> Shaped[np.ndarray, "..."]:
        """Return a region of one array; axes that are not given are read whole.

        UnknownNameError if the product has no such array, DamagedProductError if a chunk is missing or damaged; names
        it.
        """
        if name not in self.names:
            raise UnknownNameError.of("array", name, self.names)
        with understood(self, f"array '{name}'"):
            try:
                return self._decoded(name, region)
            except CODEC_ERRORS:
                # A part of a shard has no checksum in the manifest: read it once more, as all else is.
                return self._decoded(name, region)

    def to_xarray(self) -> Any:
        """Return the product as an ``xarray.Dataset`` that reads, and verifies, when values are asked for."""
        import xarray  # slow to import, and most readers do not need it

        from lift3d.storage.verified import VerifiedStore

        with understood(self, "The group"):
            view = VerifiedStore(self.store, self.commit)
            return xarray.open_zarr(view, chunks=None, consolidated=True, zarr_format=3)

    def _decoded(self, name: str, region: Region) -> Shaped[np.ndarray, "..."]:
        # Zarr is imported with the first array: a run is planned from what manifests say.
        import zarr

        from lift3d.storage.verified import VerifiedStore

        form = ArrayForm.of(self.manifest.arrays[name])
        is_most = _is_most(form, region)
        view = VerifiedStore(self.store, self.commit, reads_whole=is_most)
        if region and (shard := shard_of(form, region[0])):
            key, rows = f"{name}/{shard[0]}", shard[1]
            if key in self.manifest.entries:
                whole = view.whole(key).__getitem__ if is_most else None
                found = unpack_shard(form, rows, whole or partial(view.part, key), 1 if whole else _READS_TOGETHER)
                return found[(slice(None), *region[1:])]
        # Of the older format arrays may name filters that unpickle.
        array = zarr.open_array(view, path=name, mode="r", zarr_format=3)
        # In full, since Zarr compares lists with dots.
        where: Any = (*region, *(slice(None),) * (array.ndim - len(region)))
        return np.asarray(array.oindex[where] if region and isinstance(region[0], list) else array[where])


def _is_most(form: ArrayForm, region: Region) -> bool:
    """Whether a region holds at least half of what the first shard that it touches holds along the first axis."""
    if not region or not form.is_sharded:
        return True
    if isinstance(region[0], int):
        return False
    chosen = region[0] if isinstance(region[0], list) else range(form.shape[0])[region[0]]
    if not chosen:
        return False
    begin = chosen[0] - chosen[0] % form.unit[0]
    end = min(begin + form.unit[0], form.shape[0])
    return 2 * sum(begin <= entry < end for entry in chosen) >= end - begin


@contextmanager
def understood(product: Product, what: str) -> Iterator[None]:
    """Read what a product says: what none of ours would say is damage, however well its sums add up.

    Every error of the block that is not the store's becomes a DamagedProductError, or an OutOfMemoryError.
    """
    try:
        yield
    except StoreError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(f"There is not enough memory for {what} of {product.url} ({error}).") from error
    except (Lift3dError, *_MISUNDERSTOOD) as error:
        # Of a process that ends while a thread reads: nothing is wrong with the product.
        if _AT_EXIT in str(error):
            raise
        said = " ".join(str(error).split())
        raise DamagedProductError(
            f"{what} of {product.url} is not as it was written ({type(error).__name__}: {said:.300}); it is damaged. "
            f"Delete the product {product.url} and run again.",
            product=product.commit.path,
        ) from error


def open_product(store: Store, path: str) -> Product:
    """Open a product; ProductMissingError if it was never committed, DamagedProductError if its group file is bad."""
    commit = protocol.committed(store, path)
    if commit is None:
        raise ProductMissingError(
            f"There is no committed product at {store.url}/{path}. Compute it first (a run resumes where it stopped)."
        )
    return Product(store, commit)


def products_in(store: Store, folder: str) -> Iterator[Product]:
    """Yield the committed products of a folder; those that are damaged are left out."""
    for leaf in store.names(folder):
        try:
            commit = protocol.committed(store, f"{folder}/{leaf}")
        except DamagedProductError:
            continue
        if commit is not None:
            yield Product(store, commit)
