"""The surface of a scene: estimated once, kept in the store, read by every operator, target, shard and later run."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.keys import ViewId
from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.errors import NoOverlapError, SceneError
from lift3d.pipeline.digests import surface_digest
from lift3d.pipeline.features import made_by
from lift3d.pipeline.inputs import Report, SceneInputs
from lift3d.pipeline.products import EXPLAINED, camera_arrays
from lift3d.pipeline.tracks import views_to_fit_on
from lift3d.storage import layout
from lift3d.storage.commit import committed
from lift3d.storage.location import Store
from lift3d.storage.products import ProductWriter, open_product, understood
from lift3d.surface.free_space import carved
from lift3d.surface.given import GivenGeometry, geometry_given
from lift3d.surface.keyframes import keyframes
from lift3d.surface.masking import masked
from lift3d.surface.scene_surface import SceneSurface, SeenSurface

_UNKNOWN = np.float32(np.nan)
# Views of which depth and confidence lie in one object each.
_VIEWS_PER_PART = 512


@dataclass(frozen=True, slots=True, eq=False)
class StoredSurface:
    """The surface of a scene, where it lies in the store, and what it comes from, in words."""

    path: str
    surface: SceneSurface
    shown_as: str


def surface_sources(
    inputs: SceneInputs, wanted: str | None, names: Collection[ViewId], plugins: Sequence[str] = ()
) -> list[GivenGeometry]:
    """Return what the surface that some views show may come from, the best first."""
    has_depth = all(inputs.views[name].source.has_depth for name in names)
    return [*geometry_given(inputs.scene.location, wanted, has_depth=has_depth, plugins=plugins)]


def scene_surface(
    inputs: SceneInputs, wanted: str | None, names: Sequence[ViewId], report: Report, plugins: Sequence[str] = ()
) -> StoredSurface:
    """Return the surface that some views of a scene show, and which of them own it; no others are looked at.

    Without a method by name, the best that the scene has is taken: one that does not fit its views is passed over.
    NoOverlapError if no two views see the same place, or no surface is found; SceneFormatError if a file that was asked
    for is not there, or does not fit the views.
    """
    sources = surface_sources(inputs, wanted, names, plugins)
    for place, source in enumerate(sources, start=1):
        try:
            return _from_source(inputs, source, names, report)
        except SceneError as error:
            if place == len(sources):
                raise
            inputs.notes.append(f"The {source.shown_as} of the scene was passed over: {error}")
    raise NoOverlapError(f"Nothing tells where the surface of '{inputs.scene.id}' is.", scene=inputs.scene.id)


def _from_source(inputs: SceneInputs, source: GivenGeometry, names: Sequence[ViewId], report: Report) -> StoredSurface:
    digests = {name: inputs.digests[name] for name in names}
    digest = surface_digest(source.spec, digests, inputs.scene.depth_range)
    path = layout.geometry_path(inputs.scene.id, source.spec.name, inputs.height, digest)
    if committed(inputs.store, path) is None:
        report(f"surface ({source.shown_as})", 0, len(names))
        _estimate_into(inputs, path, source, names)
        inputs.computed["surfaces"] += 1
    if source.prior:
        inputs.notes.extend(open_product(inputs.store, path).attrs.get("notes", []))
    return StoredSurface(path, read_surface(inputs.store, path), source.shown_as)


def _estimate_into(inputs: SceneInputs, path: str, source: GivenGeometry, names: Sequence[ViewId]) -> None:
    """Commit the surface that a source gives; nothing of it is held when it is read."""
    found, notes = _estimated(inputs, source, names)
    surface = SceneSurface.of(found)
    del found
    write_surface(inputs.store, path, surface, keyframes(surface), inputs.scene.id, notes=notes)


class _Guides(Sequence[SourceGuide]):
    """What views show, from frames that are held in bounded memory, or loaded again."""

    def __init__(self, inputs: SceneInputs, names: Sequence[ViewId]) -> None:
        self._inputs, self._names = inputs, tuple(names)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, place: int) -> SourceGuide: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[SourceGuide]: ...
    def __getitem__(self, place: int | slice) -> SourceGuide | Sequence[SourceGuide]:
        if isinstance(place, slice):
            return _Guides(self._inputs, self._names[place])
        name = self._names[place]
        frame = self._inputs.frame(name)
        return SourceGuide(
            name, frame.camera, frame.image, frame.is_valid, z_depth=frame.z_depth, is_empty=frame.is_empty
        )


def _estimated(
    inputs: SceneInputs, source: GivenGeometry, names: Sequence[ViewId]
) -> tuple[SceneGeometry, tuple[str, ...]]:
    """Return the surface that a source gives, and what there is to say of it."""
    guides = _Guides(inputs, names)
    with torch.inference_mode():
        found = source.build().estimate(guides, inputs.scene.depth_range, views_to_fit_on(inputs, names).find_tracks)
        notes = found.notes
        found = masked(carved(found, guides), guides)
    if not any(bool(torch.isfinite(view.z_depth).any()) for view in found.views.values()):
        raise NoOverlapError(f"The {source.shown_as} shows no surface in any of the {len(names)} views.")
    return found, notes


def write_surface(
    store: Store,
    path: str,
    surface: SceneSurface,
    order: Sequence[int],
    scene: str,
    contradiction: Mapping[ViewId, Float[Tensor, "row col"]] | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Commit a surface: depth and confidence of every view, padded to the largest grid, and the keyframes in order.

    Where it was judged what views show, how far each contradicts the others lies beside: 0 as usual, 1 as unrelated.
    """
    views = surface.views
    sides = tuple(max(view.grid.shape[axis] for view in views) for axis in (0, 1))
    writer = ProductWriter(store, path, records_parts=False)
    parts = range(math.ceil(len(views) / _VIEWS_PER_PART))
    for part in parts:
        some = views[part * _VIEWS_PER_PART : (part + 1) * _VIEWS_PER_PART]
        maps = {"z_depth": [view.z_depth for view in some], "confidence": [view.confidence for view in some]}
        if contradiction is not None:
            maps["contradiction"] = [contradiction[view.id] for view in some]
        arrays = {name: (("view", "row", "col"), _stacked(name, of_views, sides)) for name, of_views in maps.items()}
        writer.write_part(part, arrays, len(views), _VIEWS_PER_PART)
    attrs = {
        "what": "The scene's surface as each view shows it: camera z in world units of the scene, how sure it is, and "
        "the views that own the surface, first come first served",
        "scene": scene,
        "method": surface.method,
        "grids": [view.grid.to_json() for view in views],
        "images": [[view.camera.size.height, view.camera.size.width] for view in views],
        **({"notes": [*notes]} if notes else {}),
        **EXPLAINED,
        **made_by(),
    }
    cameras = camera_arrays({view.id: view.camera for view in views})
    writer.commit({**cameras, "keyframe": (("rank",), np.array(order, dtype=np.int64))}, attrs, len(parts))


def _stacked(name: str, maps: Sequence[Float[Tensor, "row col"]], sides: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Return maps of views in one array, padded with what is unknown."""
    stacked = np.full((len(maps), *sides), _UNKNOWN if name == "z_depth" else 0, dtype=np.float32)
    for at, one in enumerate(maps):
        stacked[at, : one.shape[0], : one.shape[1]] = one.numpy(force=True)
    return stacked


def surface_views(store: Store, path: str) -> list[ViewId]:
    """Return the views of a surface that write_surface committed."""
    product = open_product(store, path)
    with understood(product, "The surface"):
        return [str(name) for name in product.array("view")]


def read_surface(store: Store, path: str, wanted: Collection[ViewId] | None = None) -> SceneSurface:
    """Read what write_surface committed: what all views show of it, or the wanted ones alone."""
    product = open_product(store, path)
    with understood(product, "The surface"):
        names = [str(name) for name in product.array("view")]
        K, w2c = (torch.from_numpy(product.array(name).copy()) for name in ("K", "w2c"))
        grids = [FeatureGrid(**fields) for fields in product.attrs["grids"]]
        sizes = [ImageSize(*image) for image in product.attrs["images"]]
        order = tuple(int(one) for one in product.array("keyframe"))
        if not {*order} <= {*range(len(names))} or names != sorted(names):
            raise ValueError(f"keyframes {order} of views {names}")

        chosen = [at for at, name in enumerate(names) if wanted is None or name in wanted]
        parts = [chosen[at : at + _VIEWS_PER_PART] for at in range(0, len(chosen), _VIEWS_PER_PART)]

        def views() -> Iterator[SeenSurface]:
            for part in parts:
                some = (slice(part[0], part[-1] + 1) if len(part) == part[-1] + 1 - part[0] else part,)
                maps = [product.read(one, some) for one in ("z_depth", "confidence")]
                for number, at in enumerate(part):
                    place = (number, slice(grids[at].rows), slice(grids[at].cols))
                    own = (torch.as_tensor(one[place].copy()) for one in maps)
                    yield SeenSurface.of(names[at], ViewGeometry(Camera(K[at], w2c[at], sizes[at]), grids[at], *own))

        cell_count = sum(grids[at].cell_count for at in chosen)
        order = tuple(chosen.index(at) for at in order if at in chosen)
        return SceneSurface(product.attrs["method"], views(), order, cell_count=cell_count)
