"""Features of a scene's views in the store: one product per operator and set of views, made a part at a time."""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureMap
from lift3d.domain.keys import SceneId, ViewId
from lift3d.operators.protocol import OperatorSpec
from lift3d.pipeline.digests import features_digest
from lift3d.pipeline.products import (
    VIEWS_PER_PART,
    GridsOf,
    PartOfViews,
    commit_features,
    part_count,
    write_features_part,
    writer_of,
)
from lift3d.pipeline.stored_views import read_features
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.location import Store
from lift3d.storage.products import Product, open_product, products_in

Maps = tuple[FeatureMap, ...]


class StoredFeatures:
    """One operator's features of some views of a scene: cameras at the encoded size, and digests of their content."""

    def __init__(
        self,
        store: Store,
        scene: SceneId,
        operator: OperatorSpec,
        cameras: Mapping[ViewId, Camera],
        digests: Mapping[ViewId, str],
    ) -> None:
        self._store = store
        self._scene = scene
        self._operator = operator
        self._cameras = cameras
        self._digests = digests
        self._height = max(camera.size.height for camera in cameras.values())
        self._numbers = {name: number for number, name in enumerate(cameras)}
        self._product: Product | None = None
        self.path = layout.features_path(scene, operator.name, self._height, features_digest(operator, digests))

    @property
    def view_count(self) -> int:
        """How many views they are of."""
        return len(self._cameras)

    def is_there(self) -> bool:
        """Whether they are committed."""
        return committed(self._store, self.path) is not None

    def __contains__(self, name: object) -> bool:
        """Whether a view is one of them, and in the store."""
        return self._product is not None and name in self._numbers

    def read(self, name: ViewId) -> Maps:
        """Return a stored view's features; ProductMissingError before they are filled, DamagedProductError if bad."""
        if self._product is None:
            self._product = open_product(self._store, self.path)
        return read_features(self._product, self._numbers[name])

    def fill(
        self,
        encode: Callable[[Sequence[ViewId]], Iterator[Maps]],
        grids_of: GridsOf,
        takes: Callable[[int], bool] | None = None,
    ) -> None:
        """Encode what is missing, a part of the views at a time, and commit once all parts are there.

        Features of the same content that older products of the scene hold are copied. ``encode`` gives those of some
        views in turn, ``grids_of`` is asked if views differ in size; ``takes`` says whether a part is this worker's.
        """
        commit = committed(self._store, self.path)
        if commit is None:
            names, count = [*self._cameras], part_count(len(self._cameras))
            writer = writer_of(self._store, self.path, len(names), is_shared=takes is not None)
            own = [number for number in range(count) if takes is None or takes(number)]
            missing = [number for number in own if writer.part(number) is None]
            known = known_features(self._store, self._scene, self._operator) if missing else {}
            for number in missing:
                some = names[number * VIEWS_PER_PART : (number + 1) * VIEWS_PER_PART]
                copied = {name: _copied(known, self._digests[name]) for name in some}
                fresh = encode([name for name in some if copied[name] is None])
                maps = [copied[name] or next(fresh) for name in some]
                sizes = {camera.size for camera in self._cameras.values()}
                write_features_part(PartOfViews(writer, number, len(names)), maps, sizes, grids_of)
            if any(writer.part(number) is None for number in range(count)):
                return
            commit_features(writer, self._cameras, self._attributes())
            commit = committed(self._store, self.path)
        self._product = None if commit is None else Product(self._store, commit)

    def _attributes(self) -> dict[str, object]:
        return {
            "what": "Features that a 2D model computes for each view of a scene; one array per cut of the model",
            "scene": self._scene,
            "operator": self._operator.name,
            "operator_identity": self._operator.identity,
            "image_height_px": self._height,
            "view_digests": [*self._digests.values()],
            **made_by(),
        }


def known_features(store: Store, scene: SceneId, operator: OperatorSpec) -> dict[str, tuple[Product, int]]:
    """Return where features of an operator lie in the products of a scene, by digest of the view."""
    known: dict[str, tuple[Product, int]] = {}
    for product in products_in(store, layout.features_folder(scene, operator.name)):
        views = product.attrs.get("view_digests")
        if product.attrs.get("operator_identity") == operator.identity and isinstance(views, list):
            for number, view in enumerate(views):
                known.setdefault(str(view), (product, number))
    return known


def made_by() -> dict[str, str]:
    """Return the attributes that say when and by what a product was made."""
    return {
        "lift3d_version": importlib.metadata.version("lift3d"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _copied(known: Mapping[str, tuple[Product, int]], digest: str) -> Maps | None:
    return read_features(*known[digest]) if digest in known else None
