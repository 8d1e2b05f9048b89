"""What a scene gives to the line: frames and per-view features, each loaded or computed once, in bounded memory."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, takewhile

import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.records import DroppedView
from lift3d.domain.scene import FRAME_MAPS, Frame, Scene, View
from lift3d.errors import SceneError
from lift3d.operators.protocol import Operator
from lift3d.overlap import ahead
from lift3d.pipeline.bounded_cache import CACHE_BYTES, BoundedCache
from lift3d.pipeline.device import on_host
from lift3d.pipeline.digests import operator_digest, view_digest
from lift3d.pipeline.encode import encode_together, target_grids
from lift3d.pipeline.features import Maps, StoredFeatures
from lift3d.storage.location import Store

Report = Callable[[str, int, int], None]
# Views that a GPU encodes at once, at most; fewer if they do not fit.
MOST_TOGETHER = 16


def quiet(stage: str, done: int, total: int) -> None:
    """Report nothing."""


class SceneInputs:
    """Frames and features of one scene at one image height.

    Views are the usable ones, in the scene's order, with digests of their content at this height (``admitted``: before
    anything is decoded); ``dropped`` are the others, the reader's and those that do not decode. ``stored`` has the
    features that were asked for, by digest of the operator; ``computed`` counts what this process computed, as against
    found committed; ``notes`` say how the scene was lifted, a sentence each. ``keeps_features`` says whether features
    that fit into memory are stored.
    """

    def __init__(self, scene: Scene, store: Store, height: int, *, keeps_features: bool = True) -> None:
        self.scene = scene
        self.height = height
        self.views: dict[ViewId, View] = {}
        self.digests: dict[ViewId, str] = {}
        self.dropped: list[DroppedView] = list(scene.dropped)
        self.store = store
        self.computed: Counter[str] = Counter()
        self.notes: list[str] = []
        self._frames: BoundedCache[Frame] = BoundedCache(_frame_bytes)
        self.stored: dict[str, StoredFeatures] = {}
        self._features: BoundedCache[Maps] = BoundedCache(lambda maps: sum(one.values.nbytes for one in maps))
        self._keeps_features = keeps_features
        self._in_memory: dict[str, InMemory] = {}
        self._batches: dict[str, int] = {}
        self._grids: dict[tuple[str, ImageSize], tuple[FeatureGrid, ...]] = {}
        for view in scene.views:
            self._admit(view)
        self.admitted = dict(self.digests)

    def frame(self, view_id: ViewId) -> Frame:
        """Return the pixels of a view, where the worker computes: loaded on the host, and taken there once."""
        return self._held(view_id, partial(self._decoded, torch.get_default_device(), view_id))

    def decode_all(self, report: Report) -> None:
        """Decode every view once, so that one that does not decode is dropped before anything depends on it."""
        # Those that are held were looked at.
        views = {name: view for name, view in self.views.items() if name not in self._frames}
        coming = ahead(partial(self._decoded, torch.get_default_device()), views)
        for done, ((name, view), decoded) in enumerate(zip(views.items(), coming, strict=True)):
            report("decode", done, len(views))
            try:
                frame = self._held(name, decoded)
            except SceneError as error:
                self._drop(view, error)
                continue
            if not bool(frame.is_valid.any()):
                self._drop(
                    view,
                    SceneError(f"View '{name}' has no valid pixel; look at its mask or alpha.", view=name),
                )

    def features(self, operator: Operator, view_id: ViewId) -> Maps:
        """Return an operator's features of a view: from memory, from the store, or computed."""
        return self._features.get(operator_digest(operator.spec) + view_id, lambda: self._found(operator, view_id))

    def grids(self, operator: Operator, size: ImageSize) -> tuple[FeatureGrid, ...]:
        """Return the grids that an operator has on an image size, found once."""
        key = (operator_digest(operator.spec), size)
        if key not in self._grids:
            self._grids[key] = target_grids(operator, size)
        return self._grids[key]

    def cameras(self) -> dict[ViewId, Camera]:
        """Return the usable views' cameras at the lifted size."""
        return {
            name: view.camera.resized(view.camera.size.with_height(self.height)) for name, view in self.views.items()
        }

    def encode(
        self,
        operator: Operator,
        names: Collection[ViewId],
        report: Report,
        takes: Callable[[int], bool] | None = None,
    ) -> None:
        """See to it that the features of the named views are encoded once: store them, unless they are stored.

        ``takes`` tells which parts this worker encodes, if there are several that do. Features that are not to be kept,
        and those of other views, are computed when they are asked for, and not stored.
        """
        stored = self.stored_features(operator, names)
        if takes is None and not self._keeps_features and not stored.is_there():
            ordered = tuple(name for name in self.views if name in names)
            self._in_memory[operator_digest(operator.spec)] = InMemory(ordered, report)
        else:
            self._store(operator, stored, report, takes)

    def _store(
        self, operator: Operator, stored: StoredFeatures, report: Report, takes: Callable[[int], bool] | None = None
    ) -> None:
        spec, wanted = operator.spec, count()

        def encode(some: Sequence[ViewId]) -> Iterator[Maps]:
            ready: dict[ViewId, Maps] = {}

            def encoded(left: Sequence[ViewId]) -> Maps:
                if left[0] not in ready:
                    ready.update(self._encoded(operator, left))
                return ready.pop(left[0])

            for place, name in enumerate(some):
                report(f"encode {spec.name}", next(wanted), stored.view_count)
                yield self._features.get(operator_digest(spec) + name, partial(encoded, some[place:]))

        stored.fill(encode, lambda size: self.grids(operator, size), takes)
        self.stored[operator_digest(spec)] = stored

    def stored_features(self, operator: Operator, names: Collection[ViewId]) -> StoredFeatures:
        """Return where an operator's features of some views lie, or will."""
        cameras = {name: camera for name, camera in self.cameras().items() if name in names}
        digests = {name: self.digests[name] for name in cameras}
        return StoredFeatures(self.store, self.scene.id, operator.spec, cameras, digests)

    def _held(self, view_id: ViewId, decoded: Callable[[], Frame]) -> Frame:
        return self._frames.get(view_id, lambda: decoded().to(torch.get_default_device()))

    def _decoded(self, device: torch.device, view_id: ViewId) -> Frame:
        """Return the pixels of a view on the host, for a device, in whatever thread."""
        with on_host():
            frame = self.views[view_id].load(self.height)
        return frame.pinned() if device.type == "cuda" else frame

    def _found(self, operator: Operator, view_id: ViewId) -> Maps:
        digest = operator_digest(operator.spec)
        stored, in_memory = self.stored.get(digest), self._in_memory.get(digest)
        if stored is not None and view_id in stored:
            return stored.read(view_id)
        if in_memory is None or view_id not in in_memory.names:
            return self._encoded(operator, [view_id])[view_id]
        found = self._encoded(
            operator, [view_id, *in_memory.left(lambda name: digest + name in self._features, view_id)]
        )
        for name, maps in found.items():
            self._features.put(digest + name, maps)
        in_memory.tell(operator.spec.name, len(found))
        in_memory.byte_count = len(in_memory.names) * sum(one.values.nbytes for one in found[view_id])
        if sum(one.byte_count for one in self._in_memory.values()) > CACHE_BYTES:
            # What does not fit would be computed again and again.
            del self._in_memory[digest]
            self._store(operator, self.stored_features(operator, in_memory.names), in_memory.report)
        return found[view_id]

    def _encoded(self, operator: Operator, names: Sequence[ViewId]) -> dict[ViewId, Maps]:
        """Return the features of the first of some views: of one on the host, else of as many as fit at once."""
        spec, clamped = operator.spec, list[int]()
        first = self.frame(names[0])
        most = 1 if first.image.is_cpu else self._batches.get(spec.name, MOST_TOGETHER)
        alike = takewhile(lambda one: self.frame(one).camera.size == first.camera.size, names[:most])
        frames = {name: self.frame(name) for name in alike}
        found = encode_together(operator, frames, clamped.append)
        if len(found) < len(frames):
            self._batches[spec.name] = len(found)
        self.computed["features"] += len(found)
        if clamped:
            # Said with what was computed, so that whoever looks at the run sees it.
            self.computed[f"values of {spec.name} clamped to float16"] += sum(clamped)
        return found

    def _admit(self, view: View) -> None:
        try:
            self.digests[view.id] = view_digest(view, self.height)
        except SceneError as error:
            self._drop(view, error)
            return
        self.views[view.id] = view

    def _drop(self, view: View, error: SceneError) -> None:
        self.views.pop(view.id, None)
        self.digests.pop(view.id, None)
        self.dropped.append(DroppedView(view.id, error.reason, str(error)))


@dataclass
class InMemory:
    """Features that are kept in memory and not stored: of which views, who is told, and how many bytes all will be."""

    names: tuple[ViewId, ...]
    report: Report
    byte_count: int = 0
    done: int = 0

    def left(self, is_known: Callable[[ViewId], bool], view_id: ViewId) -> Iterator[ViewId]:
        """Yield the views after one of which nothing is known yet."""
        after = self.names[self.names.index(view_id) + 1 :]
        return (name for name in after if not is_known(name))

    def tell(self, operator: str, more: int) -> None:
        """Report that more views are encoded."""
        self.done += more
        self.report(f"encode {operator}", min(self.done, len(self.names)), len(self.names))


class SceneFeatures(Mapping[ViewId, Maps]):
    """One operator's features of some views of a scene, in its order, loaded on access."""

    def __init__(self, inputs: SceneInputs, operator: Operator, names: Collection[ViewId]) -> None:
        self._inputs = inputs
        self._operator = operator
        self._names = [name for name in inputs.views if name in names]

    def __getitem__(self, view_id: ViewId) -> Maps:
        if view_id not in self._names:
            raise KeyError(view_id)
        return self._inputs.features(self._operator, view_id)

    def __iter__(self) -> Iterator[ViewId]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _frame_bytes(frame: Frame) -> int:
    maps = (getattr(frame, name) for name in FRAME_MAPS)
    return sum(one.nbytes for one in maps if one is not None)
