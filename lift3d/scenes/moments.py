"""One moment of a rig whose cameras stand still: ``moment:3:LOCATION``.

Views of LOCATION that share a camera are one camera of the rig, at one moment after the other in the reader's order.
The scene has all of them, so that all moments share the evidence of what stands still: the views of the moment whole,
and of other moments what does not move, neither then nor now, for it would be seen through. That is where a picture is
as the median over time. Of each camera the view of the moment comes first: with as many moments as ``holdout``, these
views are the targets.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.keys import digest
from lift3d.domain.scene import Frame, Scene, View
from lift3d.errors import ConfigError, SceneFormatError
from lift3d.scenes.wrapped_frame import WrappedFrame

SCHEME = "moment:"
# Raised when the same location would give other pixels.
CONTENT_VERSION = 1
# A median tells what stands still if it does so most of the time.
_FEWEST = 3
# Difference of a colour, in [0, 1], from which on a pixel moves; and how far around it nothing is believed, as a share
# of the height.
_MOVES, _AROUND = 0.04, 0.015
# Poses and intrinsics that differ by less are one camera's: files hold so many digits.
_SAME = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class CameraOverTime:
    """The views of one camera, a moment after the other."""

    views: Sequence[View]

    def median(self, size: ImageSize) -> Float[Tensor, "3 height width"]:
        """Return what stands before the camera most of the time."""
        return _median(self, size)


@functools.lru_cache(maxsize=16)
def _median(camera: CameraOverTime, size: ImageSize) -> Float[Tensor, "3 height width"]:
    images = [view.source.load(view.camera, size).image for view in camera.views]
    return torch.stack(images).median(0).values


@dataclass(frozen=True, slots=True, eq=False)
class StillFrame(WrappedFrame):
    """A view of another moment: what moves in it, or at the moment, is not valid."""

    camera: CameraOverTime
    moment: int

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        """Load the view, and mask what is not as it is most of the time, there or at the moment."""
        frame, now = self.source.load(camera, size), self.camera.views[self.moment]
        images = frame.image, now.source.load(now.camera, size).image
        there, here = (is_still(image, self.camera.median(size)) for image in images)
        return replace(frame, is_valid=frame.is_valid & there & here)

    def content_digest(self) -> str:
        """Digest of the view's own, and of all that its median is of."""
        others = [view.source.content_digest() for view in self.camera.views]
        own = {"source": self.source.content_digest(), "moment": self.moment}
        return digest({**own, "median of": others, "version": CONTENT_VERSION})


def is_still(
    image: Float[Tensor, "3 height width"], median: Float[Tensor, "3 height width"]
) -> Bool[Tensor, "height width"]:
    """Return where a picture is as the median, and no pixel near is otherwise."""
    around = max(1, round(_AROUND * image.shape[1]))
    found: Tensor = F.max_pool2d(moves(image, median).float()[None], 2 * around + 1, 1, around)[0] == 0
    return found


def moves(
    image: Float[Tensor, "3 height width"], median: Float[Tensor, "3 height width"]
) -> Bool[Tensor, "height width"]:
    """Return where a picture is not as the median."""
    return (image - median).abs().amax(0) > _MOVES


class MomentReader:
    """Reads ``moment:NUMBER:LOCATION``."""

    def recognizes(self, location: str) -> bool:
        """Whether the location names such a scene."""
        return location.startswith(SCHEME)

    def read(self, location: str) -> Scene:
        """Read the rig and choose the moment; what reading it raises.

        Raises:
            ConfigError: If the location names no moment, or one that there is not.
            SceneFormatError: If LOCATION is no rig: a camera has few views, or fewer than another.
        """
        from lift3d.scenes.catalog import read_scene

        number, colon, inner = location.removeprefix(SCHEME).partition(":")
        if not (number.isascii() and number.isdigit()) or not colon or not inner:
            raise ConfigError(f"'{location:.200}' names no moment of a scene; expected {SCHEME}0:LOCATION, from 0 on.")
        scene = read_scene(inner)
        rig = cameras_of(scene)
        count, moment = len(rig[0].views), int(number)
        if moment >= count:
            raise ConfigError(f"'{scene.id}' has {count} moments, 0 to {count - 1}; got {moment}.")
        views = [
            view if at == moment else replace(view, source=StillFrame(view.source, camera, moment))
            for camera in rig
            for at, view in sorted(enumerate(camera.views), key=lambda pair: pair[0] != moment)
        ]
        return replace(
            scene,
            id=f"{scene.id}-moment-{moment}",
            location=location,
            views=tuple(views),
            notes=(
                *scene.notes,
                f"Moment {moment} of {count} of {len(rig)} cameras; of other moments, what stands still. --holdout "
                f"{count} makes the views of the moment the targets.",
            ),
        )


def cameras_of(scene: Scene) -> list[CameraOverTime]:
    """Return the cameras of a rig, in the reader's order; SceneFormatError if views are not those of one."""
    groups: list[list[View]] = []
    for view in scene.views:
        own = next((group for group in groups if _is_same(group[0].camera, view.camera)), None)
        if own is None:
            groups.append([view])
        else:
            own.append(view)
    counts = sorted({len(group) for group in groups})
    if counts[0] < _FEWEST or len(counts) > 1:
        raise SceneFormatError(
            f"'{scene.id}' is no rig whose cameras stand still: its {len(groups)} cameras have {counts[0]} to "
            f"{counts[-1]} views; expected as many of each, {_FEWEST} at least, with one pose per camera. A scene of "
            "one moment, or one whose camera moves, is read as it is.",
            scene=scene.id,
        )
    return [CameraOverTime(tuple(group)) for group in groups]


def _is_same(one: Camera, other: Camera) -> bool:
    return (
        one.size == other.size
        and torch.allclose(one.w2c, other.w2c, rtol=0, atol=_SAME)
        and torch.allclose(one.K, other.K, rtol=_SAME, atol=0)
    )
