"""What products cost: bytes per view, and throughput against plain Zarr on disk, and on a service.

Features are those of a real network on a computed view, with random weights: they compress like those of a trained one,
hardly at all. Whatever is compared runs in turns, forwards and backwards, and a ratio is the median over turns of the
ratio within a turn, so that what else the machine does falls on both sides.
"""

import os
import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float16, Shaped

from lift3d.bench.plain_zarr import read_plain, write_plain
from lift3d.domain.camera import ImageSize
from lift3d.errors import ConfigError
from lift3d.operators.catalog import build_operator
from lift3d.operators.protocol import OperatorSpec
from lift3d.pipeline.products import VIEWS_PER_PART, PartOfViews, commit_features, write_features_part
from lift3d.runs.planned.sizes import feature_bytes, lifted_bytes
from lift3d.scenes.catalog import read_scene
from lift3d.storage.layout import features_path
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import ProductWriter, open_product, write_product

FLOAT16_BYTES = 2
_NAME = "features_0"


class Side(NamedTuple):
    """What is timed: writing products, and reading them."""

    write: Callable[[], None]
    read: Callable[[], None]


# Of one product: views differ in number from case to case.
Features = Float16[np.ndarray, "_view channel row col"]


@dataclass(frozen=True, slots=True)
class StorageSize:
    """How much is measured.

    Attributes:
        operator: The network; DINOv2 of base size at its own resolution has 37×37 cells of 768 channels.
        location: The scene whose first view it sees; its image has the network's size.
        view_count: Views that are stored one by one, as the cache of features is.
        part_views: Views that are stored at once, as lifted views are.
        writers: Threads that store views of a service at once: one, and what a node runs.
        repeats: Turns on the local disk.
        service_repeats: Turns on a service, whose requests take longer.
    """

    operator: str = "timm:vit_base_patch14_dinov2?weights=random"
    location: str = "procedural:room?seed=1&views=2&height=518&width=518"
    view_count: int = 8
    part_views: int = VIEWS_PER_PART
    writers: tuple[int, ...] = (1, 8)
    repeats: int = 7
    service_repeats: int = 3


FULL = StorageSize()


@dataclass(frozen=True, slots=True)
class ViewBytes:
    """What one view takes.

    Attributes:
        image: Height and width, pixels.
        features_shape: Channels, rows and columns.
        planned_features: Bytes as a plan counts them.
        planned_lifted: The same of a lifted view.
        template: Uncompressed.
        stored_chunks: Of the features alone.
        stored: Of the whole product.
        objects: Of the whole product.
    """

    image: tuple[int, int]
    features_shape: tuple[int, ...]
    planned_features: int
    planned_lifted: int
    template: int
    stored_chunks: int
    stored: int
    objects: int


@dataclass(frozen=True, slots=True)
class Throughput:
    """Of writing and of reading, MiB of uncompressed features per second; or the ratios of two."""

    write: float
    read: float


@dataclass(frozen=True, slots=True)
class LocalCase:
    """Products against plain Zarr on the local disk; ``ratio`` is the median of those within a turn."""

    products: int
    views: int
    product: Throughput
    plain: Throughput
    ratio: Throughput


@dataclass(frozen=True, slots=True)
class ServiceCase:
    """Products on a service, written and read by so many threads at once."""

    products: int
    views: int
    writers: int
    product: Throughput


@dataclass(frozen=True, slots=True)
class StorageFigures:
    """What ``lift3d bench storage`` measured.

    Attributes:
        operator: The network.
        repeats: Turns on the local disk.
        service_repeats: Turns on the service.
        per_view: Bytes of one view.
        local: Products of one view, and one product of many.
        service: The same on a service; None where none was asked for.
        load: Load average of five minutes.
    """

    operator: str
    repeats: int
    service_repeats: int
    per_view: ViewBytes
    local: tuple[LocalCase, ...]
    service: tuple[ServiceCase, ...] | None
    load: float


def measure(folder: Path, s3: str | None = None, size: StorageSize | None = None) -> StorageFigures:
    """Measure and return the figures.

    Args:
        folder: On the local disk that is measured; what is written below it is deleted again.
        s3: Store on a service, if one is to be measured; likewise.
        size: How much; the full size if None.

    Raises:
        ConfigError: If the URL is not of S3.
        StoreError: If a store does not answer, refuses or is full.
    """
    size = size or FULL
    if s3 is not None and not s3.startswith("s3://"):
        raise ConfigError(f"The service to be measured is s3://BUCKET/PREFIX, got '{s3}'.")
    name = f"bench-{uuid.uuid4().hex[:8]}"
    own = folder / name
    distant = None if s3 is None else open_store(f"{s3.rstrip('/')}/{name}", create=True)  # refused now or never
    try:
        store = open_store(str(own / "store"), create=True)
        per_view, views = _bytes_per_view(store, size)
        local = tuple(_local(store, own / "plain", batch, size.repeats) for batch in _batches(views, size))
    finally:
        shutil.rmtree(own, ignore_errors=True)
    service = None if distant is None else _service(distant, views, size)
    load = os.getloadavg()[1]
    return StorageFigures(size.operator, size.repeats, size.service_repeats, per_view, local, service, load)


def _bytes_per_view(store: Store, size: StorageSize) -> tuple[ViewBytes, Features]:
    """Return what one view takes, planned and stored, and features like its own for as many views as are stored."""
    operator = build_operator(size.operator)
    image = read_scene(size.location).views[0].load().image
    maps = operator.encode(image)
    camera = read_scene(size.location).views[0].camera
    path = features_path("room", size.operator, camera.size.height, "0" * 16)
    writer = ProductWriter(store, path)
    write_features_part(PartOfViews(writer, 0, 1), [maps], {camera.size}, lambda size: tuple(one.grid for one in maps))
    commit_features(writer, {"view": camera}, {})
    stored = store.sizes(path)
    half = maps[0].values.numpy().astype(np.float16)
    # The same numbers under other channels: as hard to compress, and no two views alike.
    views = np.stack([np.roll(half, shift, axis=0) for shift in range(max(size.view_count, size.part_views))])
    seen = ImageSize(*image.shape[-2:])
    return _counted(operator.spec, seen, half.shape, stored), views


def _counted(spec: OperatorSpec, image: ImageSize, shape: tuple[int, ...], stored: Mapping[str, int]) -> ViewBytes:
    of_chunks = sum(byte_count for key, byte_count in stored.items() if f"/{_NAME}/c/" in key)
    return ViewBytes(
        image=(image.height, image.width),
        features_shape=shape,
        planned_features=feature_bytes(spec, image, FLOAT16_BYTES),
        planned_lifted=lifted_bytes(spec, image, FLOAT16_BYTES),
        template=int(np.prod(shape)) * FLOAT16_BYTES,
        stored_chunks=of_chunks,
        stored=sum(stored.values()),
        objects=len(stored),
    )


def _batches(views: Features, size: StorageSize) -> list[list[Features]]:
    """Return the products of each case: views one by one, and one part with many."""
    return [[views[index : index + 1] for index in range(size.view_count)], [views[: size.part_views]]]


def _local(store: Store, plain: Path, batch: list[Features], repeats: int) -> LocalCase:
    """Measure products against plain Zarr on the local disk."""

    def write_products() -> None:
        for index, values in enumerate(batch):
            _write(store, f"products/{index}", values)

    def read_products() -> None:
        for index in range(len(batch)):
            open_product(store, f"products/{index}").array(_NAME)

    def write_arrays() -> None:
        for index, values in enumerate(batch):
            write_plain(plain / str(index), _NAME, *_laid_out(values))

    def read_arrays() -> None:
        for index in range(len(batch)):
            read_plain(plain / str(index), _NAME)

    def tidy() -> None:
        store.delete_prefix("products")
        shutil.rmtree(plain, ignore_errors=True)

    sides = {"product": Side(write_products, read_products), "plain": Side(write_arrays, read_arrays)}
    turns = _turns(sides, tidy, repeats)
    within = [(turn["plain"], turn["product"]) for turn in turns]
    ratio = Throughput(*(statistics.median(one[kind] / other[kind] for one, other in within) for kind in (0, 1)))
    ours, theirs = (_throughput(batch, [turn[name] for turn in turns]) for name in sides)
    return LocalCase(len(batch), len(batch[0]), ours, theirs, ratio)


def _service(store: Store, views: Features, size: StorageSize) -> tuple[ServiceCase, ...]:
    """Measure the product API on a service."""
    cases = [(batch, writers) for batch in _batches(views, size) for writers in size.writers if writers <= len(batch)]
    found = []
    for batch, writers in cases:
        sides = {"product": _at_once(store, batch, writers)}
        turns = _turns(sides, lambda: store.delete_prefix("products"), size.service_repeats)
        product = _throughput(batch, [turn["product"] for turn in turns])
        found.append(ServiceCase(len(batch), len(batch[0]), writers, product))
    parent, _, name = store.url.rpartition("/")
    Store(parent).delete_prefix(name)
    return tuple(found)


def _at_once(store: Store, batch: list[Features], writers: int) -> Side:
    names = [f"products/{index}" for index in range(len(batch))]

    def write() -> None:
        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(lambda name, values: _write(store, name, values), names, batch))

    def read() -> None:
        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(lambda name: open_product(store, name).array(_NAME), names))

    return Side(write, read)


def _turns(sides: Mapping[str, Side], tidy: Callable[[], None], repeats: int) -> list[dict[str, tuple[float, float]]]:
    """Run all sides in turns, and return the seconds of writing and reading; a first turn does not count."""
    turns = []
    for turn in range(repeats + 1):
        order = [*sides] if turn % 2 else [*sides][::-1]
        turns.append({name: (_seconds(sides[name].write), _seconds(sides[name].read)) for name in order})
        tidy()
    return turns[1:]


def _throughput(batch: list[Features], seconds: list[tuple[float, float]]) -> Throughput:
    megabytes = sum(values.nbytes for values in batch) / 2**20
    return Throughput(*(megabytes / statistics.median(spent) for spent in zip(*seconds, strict=True)))


def _write(store: Store, path: str, values: Features) -> None:
    laid_out, dims = _laid_out(values)
    write_product(store, path, {_NAME: (dims, laid_out)}, {})


def _laid_out(values: Features) -> tuple[Shaped[np.ndarray, "..."], tuple[str, ...]]:
    dims = ("view", "channel", "row", "col")
    return (values[0], dims[1:]) if len(values) == 1 else (values, dims)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
