"""What scoring looks at, in bounded memory: lifted views are read part by part, and read again if they were let go."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import LiftedView
from lift3d.domain.records import RAW2D, LiftedProduct
from lift3d.domain.scene import Frame
from lift3d.metrics.protocol import ViewEvidence
from lift3d.pipeline.bounded_cache import CACHE_BYTES, BoundedCache
from lift3d.pipeline.decode import at_pixels, filled_features
from lift3d.pipeline.stored_views import part_of_each_view, read_lifted
from lift3d.storage.location import Store
from lift3d.storage.products import Product, open_product

# What is kept of views as they are scored, beside the parts that they are read from: figures ask for them in turn.
EVIDENCE_BYTES = CACHE_BYTES // 2


class LiftedParts:
    """The lifted views of one operator under every lifter, those used last in memory: a part is read as a whole."""

    def __init__(self, store: Store, products: Sequence[LiftedProduct], tell: Callable[[], None]) -> None:
        self._tell = tell
        self._kept: BoundedCache[dict[ViewId, LiftedView]] = BoundedCache(
            lambda views: sum(one.byte_count for one in views.values())
        )
        self._opened: dict[str, Product] = {}
        # By lifter and view: where its part lies, and who else is of it.
        self._part: dict[str, dict[ViewId, tuple[str, tuple[ViewId, ...]]]] = {}
        for product in products:
            found = self._part.setdefault(product.lifter, {})
            for path in product.parts:
                self._opened[path] = open_product(store, path)
                parts: dict[int, list[ViewId]] = {}
                for view, number in part_of_each_view(self._opened[path]).items():
                    parts.setdefault(number, []).append(view)
                found |= {view: (path, tuple(together)) for together in parts.values() for view in together}

    def views(self, lifter: str) -> tuple[ViewId, ...]:
        """Return the targets that have a view of a lifter, part by part."""
        return tuple(self._part.get(lifter, ()))

    def has(self, lifter: str, view: ViewId) -> bool:
        """Whether a lifter has a view of a target."""
        return view in self._part.get(lifter, ())

    def view(self, lifter: str, view: ViewId) -> LiftedView:
        """Return a lifter's view of a target; KeyError without one."""
        path, together = self._part[lifter][view]

        def read() -> dict[ViewId, LiftedView]:
            self._tell()
            return {one.target: one for one in read_lifted(self._opened[path], together)}

        return self._kept.get(f"{path} {together[0]}", read)[view]

    def covered_by_all(self, view: ViewId, is_valid: Bool[Tensor, "height width"]) -> Bool[Tensor, "height width"]:
        """Return the pixels of a target where every lifter's prediction stands on something seen."""
        covered = torch.ones_like(is_valid)
        for lifter in self._part:
            if lifter == RAW2D:
                continue
            covered &= _covered_pixels(self.view(lifter, view)) if self.has(lifter, view) else False
        return covered


class StoredEvidence:
    """The evidence of some targets under one lifter (``Views``), each put together when it is asked for.

    Args:
        parts: Lifted views.
        lifter: Whose are scored.
        names: Targets, of which the lifter has a view, and raw2d too.
        true_frame: What a target shows, in the operator's labels.
        quantity: What the operator says.
        is_common: Whether only pixels count that every lifter covers.
    """

    def __init__(
        self,
        parts: LiftedParts,
        lifter: str,
        names: Sequence[ViewId],
        true_frame: Callable[[ViewId], Frame],
        quantity: str,
        *,
        is_common: bool,
    ) -> None:
        self._parts, self._lifter, self._names = parts, lifter, tuple(names)
        self._true_frame, self._quantity, self._is_common = true_frame, quantity, is_common
        self._kept: BoundedCache[ViewEvidence] = BoundedCache(_evidence_bytes, EVIDENCE_BYTES)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, place: int) -> ViewEvidence:
        name = self._names[place]
        return self._kept.get(name, lambda: self._of(name))

    def __iter__(self) -> Iterator[ViewEvidence]:
        return (self[place] for place in range(len(self)))

    def _of(self, name: ViewId) -> ViewEvidence:
        frame = self._true_frame(name)
        counts = frame.is_valid
        if self._is_common:
            counts = counts & self._parts.covered_by_all(name, counts)
        found, plain = self._parts.view(self._lifter, name), self._parts.view(RAW2D, name)
        return ViewEvidence(found, plain, frame, filled_features(found.lifted), counts, self._quantity)


def _covered_pixels(view: LiftedView) -> Bool[Tensor, "height width"]:
    """Return the pixels where a prediction, which lies on them or on the cells of a cut, stands on something seen."""
    size, is_valid = view.camera.size, view.prediction.is_valid
    grids = [one.features.grid for one in view.lifted]
    grid = next((grid for grid in grids if grid.shape == tuple(is_valid.shape)), grids[0])
    return at_pixels(is_valid, grid, size.height, size.width)


def _evidence_bytes(one: ViewEvidence) -> int:
    """Return what a view holds that may have been let go elsewhere."""
    filled = sum(each.values.nbytes for each in one.filled)
    return one.lifted.byte_count + one.plain.byte_count + filled + one.counts.nbytes
