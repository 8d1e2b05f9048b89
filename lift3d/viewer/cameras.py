"""The cameras in one browser's page: their outlines or small pictures, the path through them, a photograph."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import viser
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.viewer.choice import CameraStyle
from lift3d.viewer.colouring import Colours
from lift3d.viewer.eyes import Page, wxyz_of
from lift3d.viewer.transform import ViewerTransform, half_extent
from lift3d.viewer.view_slices import ViewSlice
from lift3d.viewer.viewed_scene import ViewedScene

_LINE_GREY, _KEYFRAME, _PATH = (90, 90, 90), (230, 120, 0), (150, 150, 150)
# Of pictures this small, nobody sees that they were compressed.
_JPEG_QUALITY = 70
# Pictures follow when the cloud has been drawn: the browser would else decode them all first.
_TURN_S = 0.4
# Where a photograph hangs, just behind the near plane.
_OVERLAY = 0.01


class Cameras:
    """What stands for cameras in one browser's page."""

    def __init__(self, client: Page) -> None:
        """Draw nothing yet."""
        self._client = client
        self._frustums: list[viser.CameraFrustumHandle] = []
        self._lines: viser.LineSegmentsHandle | None = None
        self._overlay: viser.ImageHandle | None = None
        self.style: CameraStyle = "hidden"
        self.is_shown = True

    def draw(self, style: CameraStyle, to_page: ViewerTransform, colours: Colours, keyframes: Sequence[str]) -> None:
        """Draw the cameras in a style, those of keyframes in another colour, and the path through them."""
        self.style, viewed = style, colours.viewed
        with self._client.atomic():
            for node in (*self._frustums, *([self._lines] if self._lines else [])):
                node.remove()
            self._frustums, self._lines = [], None
            if style == "hidden":
                return
            centers = to_page(torch.stack([one.center for one in viewed.cameras]))
            lines = [torch.stack([centers[:-1], centers[1:]], dim=1)]
            colour = [torch.tensor(_PATH).expand(len(lines[0]), 3)]
            if style == "pictures":
                self._frustums = [
                    self._frustum(colours, index, to_page, keyframes) for index in range(len(viewed.slices))
                ]
            else:
                # All in one node: a browser without a graphics card takes as long for each as for thousands of points.
                for place in viewed.slices:
                    lines.append(_outline(place.camera, to_page))
                    colour.append(torch.tensor(_colour(place, keyframes)).expand(len(lines[-1]), 3))
            self._lines = self._client.scene.add_line_segments(
                "/path",
                torch.cat(lines).float().numpy(),
                torch.cat(colour).to(torch.uint8)[:, None].expand(-1, 2, 3).numpy(),
                thickness=1.0,
                thickness_units="screen",
                visible=self.is_shown,
            )

    def colour(self, colours: Colours, is_wanted: Callable[[], bool]) -> bool:
        """Change the pictures at the cameras, if there are any, and return True; stop if they are not wanted now."""
        if self.style != "pictures":
            return True
        time.sleep(_TURN_S)
        # All in one message: browsers draw everything again for each that comes alone.
        with self._client.atomic():
            for index, frustum in enumerate(self._frustums):
                if not is_wanted():
                    return False
                frustum.image = colours.picture(index)
        return True

    def show(self, is_shown: bool) -> None:
        """Show or hide what was drawn."""
        self.is_shown = is_shown
        with self._client.atomic():
            for frustum in self._frustums:
                frustum.visible = is_shown
            if self._lines is not None:
                self._lines.visible = is_shown

    def show_photo(self, viewed: ViewedScene, to_page: ViewerTransform, index: int, opacity: float) -> None:
        """Hang a camera's photograph before the eye that looks through it, as opaque as wanted; 0: take it away."""
        if self._overlay is not None:
            self._overlay.remove()
            self._overlay = None
        photo = viewed.photos.get(viewed.slices[index].target) if index >= 0 else None
        if photo is None or opacity <= 0:
            return
        camera = viewed.slices[index].camera
        wide, high = half_extent(camera)
        alpha = np.full((*photo.shape[1:], 1), round(255 * opacity), np.uint8)
        self._overlay = self._client.scene.add_image(
            "/photo",
            np.concatenate([photo.permute(1, 2, 0).numpy(), alpha], axis=2),
            2 * wide * _OVERLAY,
            2 * high * _OVERLAY,
            format="png",
            wxyz=wxyz_of(camera.c2w),
            position=(to_page(camera.center) + _OVERLAY * camera.c2w[:3, 2]).numpy(),
            cast_shadow=False,
            receive_shadow=False,
        )

    def _frustum(
        self, colours: Colours, index: int, to_page: ViewerTransform, keyframes: Sequence[str]
    ) -> viser.CameraFrustumHandle:
        place = colours.viewed.slices[index]
        wide, high = half_extent(place.camera)
        # viser gives every pyramid the same volume; this scale puts its base at our distance instead.
        scale = to_page.picture_distance * (wide * high / 3) ** (1 / 3)
        return self._client.scene.add_camera_frustum(
            f"/cameras/{index}",
            fov=2 * math.atan(high),
            aspect=wide / high,
            scale=scale,
            thickness=1.0,
            thickness_units="screen",
            color=_colour(place, keyframes),
            image=colours.picture(index) if self.style == "pictures" else None,
            format="jpeg",
            jpeg_quality=_JPEG_QUALITY,
            wxyz=wxyz_of(place.camera.c2w),
            position=to_page(place.camera.center).numpy(),
            visible=self.is_shown,
            cast_shadow=False,
            receive_shadow=False,
        )


def _colour(place: ViewSlice, keyframes: Sequence[str]) -> tuple[int, int, int]:
    return _KEYFRAME if place.target in keyframes else _LINE_GREY


def _outline(camera: Camera, to_page: ViewerTransform) -> Float[Tensor, "edge 2 3"]:
    """Return the edges of a camera's pyramid, whose base is where its picture would stand."""
    wide, high = half_extent(camera)
    signs = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
    corners = torch.cat([signs * torch.tensor([wide, high], dtype=torch.float64), torch.ones(4, 1).double()], dim=1)
    center = to_page(camera.center)
    base = center + to_page.picture_distance * corners @ camera.c2w[:3, :3].T
    return torch.cat([torch.stack([base, base.roll(-1, 0)], 1), torch.stack([center.expand(4, 3), base], 1)])
