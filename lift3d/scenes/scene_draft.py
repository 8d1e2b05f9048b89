"""A scene in the making: what a reader has found so far, and the checks that every format shares."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.domain.keys import SceneId, ViewId
from lift3d.domain.records import DroppedView
from lift3d.domain.scene import DepthRange, Scene, View
from lift3d.errors import SceneError, SceneFormatError
from lift3d.scenes.array_frame import ArrayFrame
from lift3d.scenes.camera_checks import require_own_principal_point, require_plausible
from lift3d.scenes.depth_range import estimate_depth_range
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.images import image_size


@dataclass(slots=True)
class SceneDraft:
    """Collects views, dropped views and notes; ``finish`` freezes them.

    ``depth_range`` is set where the format itself gives one; ``canonical_from_source`` is the similarity from the
    files' world to the scene's; ``is_metric`` says that their unit is the metre.
    """

    id: SceneId
    location: str
    points: Float[Tensor, "point 3"] | None = None
    label_names: dict[int, str] = field(default_factory=dict)
    depth_range: DepthRange | None = None
    is_metric: bool = False
    canonical_from_source: Float[Tensor, "4 4"] = field(default_factory=lambda: torch.eye(4, dtype=torch.float64))
    _views: dict[ViewId, View] = field(default_factory=dict)
    _dropped: list[DroppedView] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _repaired: list[ViewId] = field(default_factory=list)

    def add(
        self,
        view_id: ViewId,
        camera: Camera,
        source: FileFrame | ArrayFrame,
        *,
        was_repaired: bool = False,
        states_size: bool = True,
    ) -> None:
        """Take a view; its camera is brought from the size its file declares to the size of the image.

        ``states_size`` is false where the size of the camera is only that of the image. ImageError if the image does
        not fit the camera; CameraError if that is none, or one of another image.
        """
        require_plausible(camera, states_size=states_size)
        if isinstance(source, FileFrame) and source.depth is not None and source.depth_intrinsics is not None:
            cx, cy = source.depth_intrinsics[2:]
            require_own_principal_point(cx, cy, image_size(source.depth), states_size=False)
        if view_id in self._views:
            self.drop(view_id, "duplicate", "The files list this view more than once.")
            return
        size = image_size(source.image, camera.size) if isinstance(source, FileFrame) else source.size
        self._views[view_id] = View(view_id, camera.resized(size), source)
        if was_repaired:
            self._repaired.append(view_id)

    @contextmanager
    def dropping(self, view_id: ViewId) -> Iterator[None]:
        """Turn an error about one view into a dropped view with its reason."""
        try:
            yield
        except SceneError as error:
            self.drop(view_id, error.reason, str(error))

    def drop(self, view_id: ViewId, reason: str, message: str) -> None:
        """Record a view that cannot be used."""
        self._dropped.append(DroppedView(view_id, reason, message))

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """Cameras of the views taken so far."""
        return tuple(view.camera for view in self._views.values())

    def note(self, *sentences: str) -> None:
        """Record what was assumed or repaired, once."""
        self._notes += [one for one in sentences if one not in self._notes]

    def finish(self) -> Scene:
        """Return the scene; SceneFormatError if no view is usable, or all views have one and the same pose."""
        self._require_views()
        if self._repaired:
            count, first = len(self._repaired), self._repaired[0]
            self.note(f"Rotations of {count} views were projected to SO(3), such as that of '{first}'.")
        depth_range = self.depth_range
        if depth_range is None:
            depth_range, sentence = estimate_depth_range(list(self._views.values()), self.points)
            self.note(sentence)
        return Scene(
            id=self.id,
            location=self.location,
            views=tuple(self._views.values()),
            depth_range=depth_range,
            canonical_from_source=self.canonical_from_source,
            points=self.points,
            label_names=self.label_names,
            dropped=tuple(self._dropped),
            notes=tuple(self._notes),
            is_metric=self.is_metric,
        )

    def _require_views(self) -> None:
        if not self._views:
            why = "Its files list none. Export them again with their frames."
            if self._dropped:
                why = f"The first of {len(self._dropped)}: {self._dropped[0].message}"
            raise SceneFormatError(f"Scene '{self.id}' has no usable view. {why}", scene=self.id)
        first, *others = self.cameras
        if others and all(float((camera.w2c - first.w2c).abs().max()) < 1e-12 for camera in others):
            raise SceneFormatError(
                f"All {len(self._views)} views of scene '{self.id}' have the same pose: placeholders. "
                "Run structure from motion first.",
                scene=self.id,
            )
