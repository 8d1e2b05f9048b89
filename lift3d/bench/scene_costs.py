"""What one scene costs on this machine: requests to the store, bytes in it, seconds of a core.

Requests go by parts of the views and not by the size of the images: they are counted in a scene of all views, whose
images are tiny. Bytes and seconds are fitted: two scenes that differ in their number of views alone give what a scene
costs and what a view costs.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from lift3d.config import Recipe
from lift3d.pipeline.models import Models
from lift3d.runs.driver import attempt_scene
from lift3d.runs.records import begin_run
from lift3d.storage.location import Store, open_store
from lift3d.storage.objects import ObjectInfo

# Few and many, so that what is per view outweighs what is per scene in one and not in the other.
FEW, MANY = 6, 18
_SCENE = "procedural:room?seed=0&views={views}&height={height}&width={width}"
_TINY = 32


class CountingStore(Store):
    """A store that counts what would be requests of an object store."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.requests: Counter[str] = Counter()
        self.written: list[str] = []  # keys

    def read_bytes(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read, and count a GET."""
        self.requests["get"] += 1
        return super().read_bytes(key, start, end)

    def write_bytes(self, key: str, content: bytes | memoryview) -> None:
        """Write, and count a PUT."""
        self.requests["put"] += 1
        self.written.append(key)
        super().write_bytes(key, content)

    def create_bytes(self, key: str, content: bytes | memoryview) -> bool:
        """Create, and count a PUT."""
        self.requests["put"] += 1
        self.written.append(key)
        return super().create_bytes(key, content)

    def entries(self, prefix: str) -> dict[str, ObjectInfo]:
        """List, and count a LIST, which costs as a PUT does."""
        self.requests["put"] += 1
        return super().entries(prefix)

    def names(self, folder: str = "") -> tuple[str, ...]:
        """List a folder, and count a LIST."""
        self.requests["put"] += 1
        return super().names(folder)

    def delete_prefix(self, prefix: str) -> None:
        """Delete, which costs nothing but the LIST before it."""
        self.requests["put"] += 1
        super().delete_prefix(prefix)


class Requests(NamedTuple):
    """What the store is asked for: PUT and LIST, which cost the same, and GET and HEAD."""

    put: int
    get: int


class Costs(NamedTuple):
    """Bytes in the store, and seconds of one core."""

    byte_count: float
    seconds: float


@dataclass(frozen=True, slots=True)
class SceneCosts:
    """Costs of a scene whose views are all targets, and sources as well.

    Attributes:
        image_height: Pixels.
        lifter: Which one.
        operator: Which one.
        views: Of the scene in which requests were counted.
        requests: Of that scene.
        per_scene: Whatever the number of views; from scenes of FEW and MANY views.
        per_view: For every view; likewise.
    """

    image_height: int
    lifter: str
    operator: str
    views: int
    requests: Requests
    per_scene: Costs
    per_view: Costs

    @property
    def whole(self) -> Costs:
        """Costs of the scene in which requests were counted."""
        pairs = zip(self.per_scene, self.per_view, strict=True)
        return Costs(*(once + self.views * each for once, each in pairs))


def measure_scene_costs(
    views: int, operator: str = "rgb", lifter: str = "anchored", image_height: int = 192
) -> SceneCosts:
    """Run a scene of so many tiny views, then both of the fit, on one thread, as a worker of a flow does."""
    requests, _ = _ran(views, operator, lifter, _TINY)
    few, many = (_ran(count, operator, lifter, image_height)[1] for count in (FEW, MANY))
    per_view = Costs(*((above - below) / (MANY - FEW) for below, above in zip(few, many, strict=True)))
    per_scene = Costs(*(max(0.0, below - FEW * each) for below, each in zip(few, per_view, strict=True)))
    return SceneCosts(image_height, lifter, operator, views, requests, per_scene, per_view)


def _ran(views: int, operator: str, lifter: str, height: int) -> tuple[Requests, Costs]:
    torch.set_num_threads(1)
    location = _SCENE.format(views=views, height=height, width=height * 4 // 3)
    recipe = Recipe(scenes=(location,), operators=(operator,), lifters=(lifter,), image_height=height)
    with tempfile.TemporaryDirectory() as folder:
        open_store(f"{folder}/store", create=True)
        store = CountingStore(f"{folder}/store")
        begin_run(recipe, store)
        models = Models.of(recipe)
        store.requests.clear()
        began = time.process_time()
        attempt_scene(location, recipe, models, store, keeps_features=False)
        seconds = time.process_time() - began
        stored = float(_bytes_below(Path(folder) / "store" / "scenes"))
        return Requests(store.requests["put"], store.requests["get"]), Costs(stored, seconds)


def _bytes_below(folder: Path) -> int:
    paths: Sequence[Path] = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in paths)
