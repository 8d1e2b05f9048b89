"""How well arrays of products pack, and how fast: ``lift3d bench storage --packing STORE``.

Of every array of lifted views a few views are packed alone, as they are stored, by each of some codecs.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from numcodecs import blosc, zstd  # type: ignore[import-untyped]

from lift3d.runs.records import recorded
from lift3d.storage.location import open_store
from lift3d.storage.products import Product, open_product

# Of each array, evenly chosen.
VIEWS = 8
Pack = Callable[[Shaped[np.ndarray, "..."]], bytes]


@dataclass(frozen=True, slots=True)
class Packed:
    """Of one view of one array, packed by one codec: KiB, and milliseconds to pack and to unpack it."""

    kib: float
    pack_ms: float
    unpack_ms: float


def measure_packing(url: str) -> dict[str, dict[str, Packed]]:
    """Return what each codec makes of each array of lifted views, on one thread."""
    store = open_store(url)
    paths = {
        path for _, _, record in recorded(store) if record is not None for one in record.lifted for path in one.parts
    }
    blosc.set_nthreads(1)
    found = {}
    for path in sorted(paths):
        product = open_product(store, path)
        for name, views in _views_of(product):
            scene, operator, lifter = (product.attrs[key] for key in ("scene", "operator", "lifter"))
            shape = "×".join(map(str, views[0].shape))
            row = f"{scene} {operator} {lifter} {name} {views[0].dtype} {shape}"
            found[row] = {codec: _packed(views, *pair) for codec, pair in _CODECS.items()}
    return found


def packing_table(found: Mapping[str, Mapping[str, Packed]]) -> str:
    """Return the figures as a Markdown table: KiB per view, and milliseconds of packing it."""
    codecs = [*_CODECS]
    lines = [f"| of one view | {' | '.join(codecs)} |", f"|---|{'---:|' * len(codecs)}"]
    for row, packed in found.items():
        cells = (f"{packed[codec].kib:.1f} ({packed[codec].pack_ms:.1f})" for codec in codecs)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    total = (
        f"{sum(one[codec].kib for one in found.values()):.0f} ({sum(one[codec].pack_ms for one in found.values()):.0f})"
        for codec in codecs
    )
    return "\n".join([*lines, f"| together | {' | '.join(total)} |"])


def _views_of(product: Product) -> Iterator[tuple[str, list[Shaped[np.ndarray, "..."]]]]:
    for name in product.names:
        count = product.manifest.arrays[name]["shape"][0]
        if name not in ("view", "K", "w2c"):
            chosen = range(0, count, -(-count // VIEWS))
            yield name, [np.ascontiguousarray(product.read(name, (number,))) for number in chosen]


def _packed(views: list[Shaped[np.ndarray, "..."]], pack: Pack, unpack: Callable[[bytes], object]) -> Packed:
    size, pack_s, unpack_s = 0, 0.0, 0.0
    for view in views:
        began = time.perf_counter()
        content = pack(view)
        packed = time.perf_counter()
        unpack(content)
        size, pack_s, unpack_s = size + len(content), pack_s + packed - began, unpack_s + time.perf_counter() - packed
    return Packed(size / 2**10 / len(views), 1e3 * pack_s / len(views), 1e3 * unpack_s / len(views))


def _zstd(level: int) -> tuple[Pack, Callable[[bytes], object]]:
    return lambda view: bytes(zstd.compress(view.tobytes(), level)), zstd.decompress


def _blosc(level: int, shuffle: int) -> tuple[Pack, Callable[[bytes], object]]:
    return blosc.Blosc("zstd", level, shuffle).encode, blosc.decompress


_CODECS = {
    "zstd 1": _zstd(1),
    "zstd 9": _zstd(9),
    "shuffle 1": _blosc(1, blosc.SHUFFLE),
    "shuffle 3": _blosc(3, blosc.SHUFFLE),
    "shuffle 5": _blosc(5, blosc.SHUFFLE),
    "bitshuffle 1": _blosc(1, blosc.BITSHUFFLE),
    "bitshuffle 5": _blosc(5, blosc.BITSHUFFLE),
}
