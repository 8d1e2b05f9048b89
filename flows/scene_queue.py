"""The scenes of a batch that wait: the longest first, each with what it has failed of so far."""

import heapq
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from flows.retry_policy import Budget
from lift3d.config import Recipe
from lift3d.domain.keys import digest, parse_json
from lift3d.domain.shard import Shard, Stage
from lift3d.errors import ProductMissingError
from lift3d.storage.layout import run_path
from lift3d.storage.location import Store

# Only for the order: a folder with more files than this is long in any case.
_MOST_FILES = 20_000
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
_PROCEDURAL_VIEWS = 24
# What a scene may be to blame for; that a store or a machine went says nothing about it, nor about the next run.
_KEPT: tuple[Budget, ...] = ("lost", "memory")


@dataclass(slots=True)
class Item:
    """A scene of about so many views that is not finished, or a shard of its work; ``not_before`` is monotonic time."""

    location: str
    size: int = 0
    failures: Counter[Budget] = field(default_factory=Counter)
    not_before: float = 0.0
    shard: Shard | None = None


class SceneQueue:
    """Waiting scenes: those that may be tried now by their size, the others by their time.

    The longest goes first, so that no worker is left alone with it at the end. Those of more than ``split_views`` views
    are split: all shards encode together, one fits, all lift together, then one worker does what is left. A shard that
    fails holds nobody up: what it has not committed, the last worker computes, and records. Failures are kept in the
    store, a small object per failed scene, so that a scene that takes the driver along has not been forgotten.
    """

    def __init__(
        self,
        locations: Sequence[str],
        recipe: Recipe,
        store: Store,
        forget_failures: bool = False,
        shard_count: int = 1,
        split_views: int = _MOST_FILES,
    ) -> None:
        self._store = store
        self._folder = f"{run_path(recipe.run_id)}/failures"
        known = {} if forget_failures else _known_failures(store, self._folder, locations)
        self._ready: list[tuple[int, int, Item]] = []
        self._later: list[tuple[float, int, Item]] = []
        self._added = 0
        self._shard_count = shard_count
        # Of scenes that are split: all that is left for the last worker, and the shards of a stage that are not done.
        self._whole: dict[str, Item] = {}
        self._open: Counter[str] = Counter()
        for location in locations:
            item = Item(location, size_hint(location), known.get(digest(location), Counter()))
            if shard_count > 1 and item.size > split_views:
                self._whole[location] = item
                self._put_shards(location, "encode")
            else:
                self.put(item)

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)

    def put(self, item: Item) -> None:
        """Let a scene wait, until its time has come."""
        self._added += 1
        heapq.heappush(self._later, (item.not_before, self._added, item))

    def take(self, now: float) -> Item | None:
        """Return the longest scene whose time has come."""
        while self._later and self._later[0][0] <= now:
            _, number, item = heapq.heappop(self._later)
            heapq.heappush(self._ready, (-item.size, number, item))
        return heapq.heappop(self._ready)[2] if self._ready else None

    def finish_shard(self, item: Item) -> None:
        """Count a shard as finished, well or badly; after the last one of a stage comes what follows."""
        location, shard = item.location, item.shard
        self._open[location] -= 1
        if self._open[location] or shard is None:
            return
        if shard.stage == "lift":
            self.put(self._whole.pop(location))
        else:
            self._put_shards(location, "fit" if shard.stage == "encode" else "lift")

    def _put_shards(self, location: str, stage: Stage) -> None:
        # What is fitted needs all views: by one worker, so that those who lift read it.
        self._open[location] = count = 1 if stage == "fit" else self._shard_count
        for index in range(count):
            self.put(Item(location, self._whole[location].size, shard=Shard(stage, index, count)))

    def count_failure(self, item: Item, budget: Budget) -> int:
        """Count a failure, here and in the store, and return how many of the kind there were."""
        item.failures[budget] += 1
        if budget in _KEPT:
            kept = {name: item.failures[name] for name in _KEPT}
            key = f"{self._folder}/{digest(item.location)}.json"
            self._store.write_bytes(key, json.dumps({"location": item.location, "failures": kept}).encode())
        return item.failures[budget]


def size_hint(location: str) -> int:
    """Return about how many views a scene has, without reading it; 0 where nothing tells."""
    if location.startswith("procedural:"):
        views = parse_qs(location.partition("?")[2]).get("views", [str(_PROCEDURAL_VIEWS)])[0]
        return int(views) if views.isdecimal() else 0
    count = seen = 0
    # What cannot be listed is left out: a reader will say what is wrong with it.
    for _, folders, names in os.walk(location):
        seen += len(folders) + len(names)
        count += sum(name.lower().endswith(_IMAGES) for name in names)
        if seen >= _MOST_FILES:
            break
    return count


def _known_failures(store: Store, folder: str, locations: Sequence[str]) -> dict[str, Counter[Budget]]:
    known = {}
    wanted = {digest(location) for location in locations}
    for key in store.list(folder):
        name = key.rsplit("/", 1)[-1].removesuffix(".json")
        if name not in wanted:
            continue
        try:
            found: dict[Budget, int] = parse_json(store.read_text(key))["failures"]
            known[name] = Counter({budget: int(found[budget]) for budget in _KEPT if budget in found})
        except (ValueError, TypeError, KeyError, ProductMissingError):
            continue  # written by a driver that died while writing; the count starts again
    return known
