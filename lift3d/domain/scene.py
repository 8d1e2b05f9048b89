"""A posed multi-view scene, its views, and the pixels of a view."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import SceneId, ViewId
from lift3d.domain.records import DroppedView
from lift3d.errors import SceneFormatError, ShapeError

UNKNOWN_LABEL = -1
FRAME_MAPS = ("image", "is_valid", "z_depth", "labels", "instances", "is_empty")


@dataclass(frozen=True, slots=True)
class DepthRange:
    """Nearest and farthest z-depth that matters in a scene, world units."""

    near: float
    far: float

    def __post_init__(self) -> None:
        if not 0 < self.near < self.far < float("inf"):
            raise SceneFormatError(f"A depth range needs 0 < near < far < ∞, got near={self.near}, far={self.far}.")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The pixels of one view at one size. All maps share the image's height and width.

    Attributes:
        image: sRGB in [0, 1]; arbitrary where not valid.
        is_valid: False where undistortion, a mask or alpha left no measurement. Invalid pixels never vote.
        z_depth: Camera z in world units, NaN where unknown; None where the view has no depth.
        labels: Class ids, UNKNOWN_LABEL where unknown or to be ignored; None where the view has none.
        instances: Instance ids, UNKNOWN_LABEL where unknown; None where the view has none.
        is_empty: Where there is nothing to be seen, as behind a transparent pixel: not valid, but known to be empty,
            where a mask hides what is unknown. None if the view has no such pixel.
    """

    image: Float[Tensor, "3 height width"]
    is_valid: Bool[Tensor, "height width"]
    camera: Camera
    z_depth: Float[Tensor, "height width"] | None = None
    labels: Int[Tensor, "height width"] | None = None
    instances: Int[Tensor, "height width"] | None = None
    is_empty: Bool[Tensor, "height width"] | None = None

    def __post_init__(self) -> None:
        shape = (self.camera.size.height, self.camera.size.width)
        for name in FRAME_MAPS:
            value = getattr(self, name)
            if value is not None and tuple(value.shape[-2:]) != shape:
                raise ShapeError(f"Frame.{name} has size {tuple(value.shape[-2:])}, its camera {shape}.")

    def to(self, device: torch.device) -> "Frame":
        """Return the same pixels on a device; a GPU fetches those that are pinned while the host goes on."""
        return self._of_each(lambda one: one.to(device, non_blocking=device.type == "cuda"))

    def pinned(self) -> "Frame":
        """Return the same pixels in memory of the host that a GPU fetches by itself."""
        return self._of_each(Tensor.pin_memory)

    def _of_each(self, moved: Callable[[Tensor], Tensor]) -> "Frame":
        maps = {name: getattr(self, name) for name in FRAME_MAPS}
        changed: dict[str, Any] = {name: moved(one) for name, one in maps.items() if one is not None}
        return replace(self, **changed)


@runtime_checkable
class FrameSource(Protocol):
    """Where the pixels of a view come from: small, picklable, nothing loaded yet."""

    @property
    def has_depth(self) -> bool:
        """Whether load gives z_depth."""
        ...

    @property
    def has_labels(self) -> bool:
        """Whether load gives labels."""
        ...

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        """Decode, undistort and resize. ``camera`` is the view's camera at its own size.

        Several threads may load at once.

        Raises:
            ImageError: If a file is missing, does not decode, or does not fit the camera.
        """
        ...

    def content_digest(self) -> str:
        """Digest of everything that load depends on (file bytes, distortion, masks), without decoding."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One image and its camera. The camera is undistorted and at the size of the file."""

    id: ViewId
    camera: Camera
    source: FrameSource

    def load(self, height: int | None = None) -> Frame:
        """Return the pixels, resized to ``height`` (own height if None)."""
        size = self.camera.size if height is None else self.camera.size.with_height(height)
        return self.source.load(self.camera, size)


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Sparse points triangulated from the given poses, with the views that see them.

    Attributes:
        points: World coordinates.
        point_index: Which point an observation belongs to.
        view_index: Which view (position in view_ids) makes the observation.
        uv: Observed pixel in the undistorted view at its own size.
        view_ids: The views that view_index refers to.
    """

    points: Float[Tensor, "point 3"]
    point_index: Int[Tensor, " observation"]
    view_index: Int[Tensor, " observation"]
    uv: Float[Tensor, "observation 2"]
    view_ids: tuple[ViewId, ...]


ScoringGeometry = Literal["depth", "tracks", "none"]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Posed views of one static place.

    Attributes:
        id: Name of the scene, unique in a run.
        location: What the reader was given.
        views: At least one view, unique ids, in the reader's order (the camera path if there is one).
        canonical_from_source: Similarity that takes the files' world to this scene's world; identity unless the
            reader says so, nothing is normalised invisibly.
        points: Sparse surface points in world coordinates, if the files have some.
        label_names: Class id to name, where views have labels.
        is_metric: Whether the files say that a unit of the world is a metre, as by depth in millimetres.
        notes: What the reader repaired or assumed, one sentence each.
    """

    id: SceneId
    location: str
    views: tuple[View, ...]
    depth_range: DepthRange
    canonical_from_source: Float[Tensor, "4 4"] = field(default_factory=lambda: torch.eye(4, dtype=torch.float64))
    points: Float[Tensor, "point 3"] | None = None
    label_names: dict[int, str] = field(default_factory=dict)
    dropped: tuple[DroppedView, ...] = ()
    notes: tuple[str, ...] = ()
    is_metric: bool = False

    def __post_init__(self) -> None:
        ids = [view.id for view in self.views]
        if not ids:
            raise SceneFormatError(f"Scene '{self.id}' has no usable view.", scene=self.id)
        if len(set(ids)) != len(ids):
            repeated = sorted({name for name in ids if ids.count(name) > 1})
            raise SceneFormatError(f"View ids must be unique; repeated: {', '.join(repeated[:5])}.", scene=self.id)

    def view(self, view_id: ViewId) -> View:
        """Return the view of that id."""
        for view in self.views:
            if view.id == view_id:
                return view
        raise SceneFormatError(f"Scene '{self.id}' has no view '{view_id}'.", scene=self.id, view=view_id)

    @property
    def has_depth(self) -> bool:
        """Whether every view has depth."""
        return all(view.source.has_depth for view in self.views)
