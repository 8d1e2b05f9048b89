"""The 3D part of the page: cloud, cameras with their pictures, a dot at the point that was clicked."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
import viser
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from viser import transforms

from lift3d.viewer.transform import FIELD_OF_VIEW, ViewerTransform, half_extent, viewer_transform
from lift3d.viewer.viewed_scene import Colours, ViewedScene

_POINT_SIZE = 0.009
# The first is what a browser without a graphics card draws while one waits for it.
POINT_COUNTS = (50_000, 100_000, 200_000)
_LINE_GREY = (90, 90, 90)
# Of pictures this small, nobody sees more.
_JPEG_QUALITY = 70
# No colour of the scale between alike and unlike.
_DOT_COLOUR = (235, 0, 235)
_DOT_SIZE = 0.035
_UNSEEN = 1e-6
# Pictures follow when the cloud has been drawn: the browser would else decode them all first.
_TURN_S = 0.4


class Drawing:
    """What of a scene stands in the page. One for all browsers that look."""

    def __init__(self, server: viser.ViserServer) -> None:
        """Draw nothing yet."""
        self._server = server
        # Nothing here casts a shadow or shines, and lights cost more than all points together.
        server.scene.configure_default_lights(enabled=False, cast_shadow=False)
        server.scene.configure_environment_map(None)
        # Drawn like the cloud, and always, so that the shader of both stays linked while a cloud changes its colours.
        # Two points in one place: a single colour would be drawn by another shader.
        colours = np.array([_DOT_COLOUR, _DOT_COLOUR], np.uint8)
        self._dot = self._add_points("/asked", np.zeros((2, 3)), colours, _UNSEEN)
        self.to_page: ViewerTransform | None = None
        # Which points of the cloud are drawn, and where they are in the page.
        self.drawn = torch.zeros(0, dtype=torch.int64)
        self.points = torch.zeros(0, 3, dtype=torch.float64)
        self._cloud: viser.PointCloudHandle | None = None
        self._frustums: list[viser.CameraFrustumHandle] = []
        self.are_cameras_shown, self._through = True, -1

    def show(self, viewed: ViewedScene, colours: Colours, most: int) -> None:
        """Draw another scene, or the same with more points."""
        to_page = viewer_transform(viewed.cloud.xyz, viewed.cameras)
        with self._server.atomic():
            self._clear()
            self.to_page, self._through = to_page, -1
            count = len(viewed.cloud)
            # The cloud is thinned at random already, so every n-th point is as good a choice.
            self.drawn = torch.arange(0, count, max(1, math.ceil(count / most)))
            self.points = to_page(viewed.cloud.xyz[self.drawn])
            self._server.scene.set_up_direction(to_page.up.numpy())
            self._place_first_look(to_page)
            of_points = colours.points[self.drawn].numpy()
            self._cloud = self._add_points("/cloud", self.points.numpy(), of_points, _POINT_SIZE)
            for index in range(len(viewed.slices)):
                self._frustums.append(self._frustum(viewed, colours, index, to_page))

    def colour_cloud(self, colours: Colours) -> None:
        """Change the colours of the points, and send them at once."""
        if self._cloud is not None:
            self._cloud.colors = colours.points[self.drawn].numpy()
            self._server.flush()

    def colour_pictures(self, viewed: ViewedScene, colours: Colours, is_wanted: Callable[[], bool]) -> None:
        """Change the pictures at the cameras; stop if they are not wanted any more."""
        time.sleep(_TURN_S)
        # All in one message: browsers draw everything again for each that comes alone.
        with self._server.atomic():
            for index, frustum in enumerate(self._frustums):
                if not is_wanted():
                    return
                frustum.image = viewed.picture(colours.pixels, index)

    def mark(self, position: Float[Tensor, "3"] | None) -> None:
        """Put the dot at a place of the page, or take it away."""
        if position is not None:
            self._dot.position = position.numpy()
        self._dot.point_size = _UNSEEN if position is None else _DOT_SIZE

    def look_through(self, client: viser.ClientHandle, viewed: ViewedScene, index: int) -> None:
        """Move a browser's eye into a camera, whose own picture does not stand before it from now on."""
        if self.to_page is None:
            return
        camera = viewed.slices[index].camera
        with client.atomic():
            client.camera.wxyz = _wxyz(camera.c2w)
            client.camera.position = self.to_page(camera.center).numpy()
            client.camera.fov = 2 * math.atan(half_extent(camera)[1])
        self._through = index

    def look_over(self, client: viser.ClientHandle) -> None:
        """Move a browser's eye back to where all is seen."""
        if self.to_page is None:
            return
        with client.atomic():
            client.camera.up_direction = self.to_page.up.numpy()
            client.camera.position = self.to_page.eye.numpy()
            client.camera.look_at = np.zeros(3)
            client.camera.fov = FIELD_OF_VIEW
        self._through = -1

    def show_cameras(self, is_shown: bool) -> None:
        """Show or hide cameras."""
        self.are_cameras_shown = is_shown
        with self._server.atomic():
            for index, frustum in enumerate(self._frustums):
                frustum.visible = is_shown and index != self._through

    def _add_points(
        self, name: str, positions: NDArray[np.float64], colours: NDArray[np.uint8], size: float
    ) -> viser.PointCloudHandle:
        return self._server.scene.add_point_cloud(
            name,
            positions.astype(np.float32),
            colours,
            point_size=size,
            point_shape="circle",
            point_shading="flat",
            precision="float32",
        )

    def _clear(self) -> None:
        self.mark(None)
        if self._cloud is not None:
            self._cloud.remove()
        for frustum in self._frustums:
            frustum.remove()
        self._cloud, self._frustums = None, []

    def _place_first_look(self, to_page: ViewerTransform) -> None:
        first = self._server.initial_camera
        first.up, first.position, first.look_at = to_page.up.numpy(), to_page.eye.numpy(), np.zeros(3)
        first.fov, first.near, first.far = FIELD_OF_VIEW, 0.005, 200.0

    def _frustum(
        self, viewed: ViewedScene, colours: Colours, index: int, to_page: ViewerTransform
    ) -> viser.CameraFrustumHandle:
        camera = viewed.slices[index].camera
        wide, high = half_extent(camera)
        # viser gives every pyramid the same volume; this scale puts its base at our distance instead.
        scale = to_page.picture_distance * (wide * high / 3) ** (1 / 3)
        return self._server.scene.add_camera_frustum(
            f"/cameras/{index}",
            fov=2 * math.atan(high),
            aspect=wide / high,
            scale=scale,
            thickness=1.0,
            thickness_units="screen",
            color=_LINE_GREY,
            image=viewed.picture(colours.pixels, index),
            format="jpeg",
            jpeg_quality=_JPEG_QUALITY,
            wxyz=_wxyz(camera.c2w),
            position=to_page(camera.center).numpy(),
            cast_shadow=False,
            receive_shadow=False,
        )


def _wxyz(c2w: Tensor) -> NDArray[np.float64]:
    return np.asarray(transforms.SO3.from_matrix(c2w[:3, :3].numpy()).wxyz, dtype=np.float64)
