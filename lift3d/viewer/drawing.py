"""The 3D part of one browser's page: the surface as points or triangles, cameras with their pictures, a dot."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import viser
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor
from viser import transforms

from lift3d.viewer.choice import Eye, Place
from lift3d.viewer.raster import PageCamera
from lift3d.viewer.transform import FIELD_OF_VIEW, ViewerTransform, half_extent
from lift3d.viewer.viewed_scene import Colours, Picture8, ViewedScene

_LINE_GREY, _KEYFRAME, _PATH = (90, 90, 90), (230, 120, 0), (150, 150, 150)
# Of pictures this small, nobody sees more; of the large one, that they were compressed.
_JPEG_QUALITY, _LARGE_QUALITY = 70, 85
# No colour of the scale between alike and unlike.
_DOT_COLOUR = (235, 0, 235)
_DOT_RADIUS, _UNSEEN = 0.018, 1e-6
# Pictures follow when the cloud has been drawn: the browser would else decode them all first.
_TURN_S = 0.4
# Points of one node have one size: those that lie farther apart than twice, or four times, the least are others.
_SIZES = 3
# Of what a window is higher than wide, page units.
_ABOVE_PANEL = 0.6
# A browser; where there is none, whatever comes to the server.
Page = viser.ClientHandle | viser.ViserServer
# The near plane of the page's camera, and where a photograph hangs just behind it.
_NEAR, _OVERLAY = 0.004, 0.01


class Drawing:
    """What stands in one browser's page."""

    def __init__(self, client: Page) -> None:
        """Draw nothing yet."""
        self._client = client
        # Drawn like the cloud, and always, so that the shader of both stays linked while a cloud changes its colours.
        # Two points in one place: a single colour would be drawn by another shader.
        colours = np.array([_DOT_COLOUR, _DOT_COLOUR], np.uint8)
        self._dot = self._add_points("/asked", np.zeros((2, 3), np.float32), colours, _UNSEEN)
        # Which points of the cloud are drawn, one node after the other, and where they are in the page.
        self.drawn = torch.zeros(0, dtype=torch.int64)
        self.points = torch.zeros(0, 3)
        self.clouds: list[viser.PointCloudHandle] = []
        self._frustums: list[viser.CameraFrustumHandle] = []
        self._path: viser.LineSegmentsHandle | None = None
        self._mesh: viser.GlbHandle | None = None
        self._overlay: viser.ImageHandle | None = None
        self.are_cameras_shown = True

    def show_points(
        self,
        points: Float[Tensor, "point 3"],
        radius: Float[Tensor, " point"],
        drawn: Int[Tensor, " drawn"],
        colours: Colours,
    ) -> None:
        """Draw some points of the cloud, page units, in place of what was drawn; each as large as it takes."""
        own, radius = points[drawn], radius[drawn]
        size = (radius / radius.amin()).log2().round().long().clamp(0, _SIZES - 1) if len(drawn) else drawn
        order = torch.argsort(size, stable=True)
        self.drawn, self.points = drawn[order], own[order]
        with self._client.atomic():
            self.hide_surface()
            for number, count in enumerate(torch.bincount(size, minlength=_SIZES).tolist()):
                if count:
                    at = order[size[order] == number]
                    rgb = colours.points[drawn[at]].numpy()
                    middle = float(radius[at].median())
                    self.clouds.append(self._add_points(f"/cloud/{number}", own[at].numpy(), rgb, middle))

    def show_mesh(self, glb: bytes) -> None:
        """Draw triangles in place of what was drawn."""
        with self._client.atomic():
            self.hide_surface()
            self._mesh = self._client.scene.add_glb("/mesh", glb, cast_shadow=False, receive_shadow=False)

    def hide_surface(self) -> None:
        """Draw neither points nor triangles."""
        for node in (*self.clouds, *([self._mesh] if self._mesh else [])):
            node.remove()
        self.clouds, self._mesh = [], None

    def colour_points(self, colours: UInt8[Tensor, "point 3"]) -> None:
        """Change the colours of the points, and send them at once."""
        begin = 0
        with self._client.atomic():
            for cloud in self.clouds:
                end = begin + len(cloud.points)
                cloud.colors = colours[self.drawn[begin:end]].numpy()
                begin = end
        self._client.flush()

    def show_views(
        self, viewed: ViewedScene, to_page: ViewerTransform, colours: Colours, keyframes: Sequence[str]
    ) -> None:
        """Draw the cameras, those of keyframes in another colour, and the path through them."""
        centers = to_page(torch.stack([one.center for one in viewed.cameras])).numpy()
        with self._client.atomic():
            for frustum in self._frustums:
                frustum.remove()
            self._frustums = [
                self._frustum(viewed, colours, index, to_page, keyframes) for index in range(len(viewed.slices))
            ]
            if self._path is not None:
                self._path.remove()
            self._path = self._client.scene.add_line_segments(
                "/path",
                np.stack([centers[:-1], centers[1:]], axis=1).astype(np.float32),
                _PATH,
                thickness=1.0,
                thickness_units="screen",
                visible=self.are_cameras_shown and len(centers) > 1,
            )

    def colour_pictures(self, viewed: ViewedScene, colours: Colours, is_wanted: Callable[[], bool]) -> None:
        """Change the pictures at the cameras; stop if they are not wanted any more."""
        time.sleep(_TURN_S)
        # All in one message: browsers draw everything again for each that comes alone.
        with self._client.atomic():
            for index, frustum in enumerate(self._frustums):
                if not is_wanted():
                    return
                frustum.image = viewed.picture(colours.pixels, index)

    def mark(self, position: Float[Tensor, "3"] | None) -> None:
        """Put the dot at a place of the page, or take it away."""
        if position is not None:
            self._dot.position = position.numpy()
        self._dot.point_size = _UNSEEN if position is None else _DOT_RADIUS

    def show_cameras(self, is_shown: bool) -> None:
        """Show or hide cameras."""
        self.are_cameras_shown = is_shown
        with self._client.atomic():
            for frustum in self._frustums:
                frustum.visible = is_shown
            if self._path is not None:
                self._path.visible = is_shown

    def look(self, eye: Eye) -> None:
        """Move the browser's eye."""
        if not isinstance(self._client, viser.ClientHandle):
            return
        camera = self._client.camera
        with self._client.atomic():
            camera.up_direction, camera.position, camera.look_at = (
                np.array(one) for one in (eye.up, eye.position, eye.look_at)
            )
            camera.fov = eye.fov

    def look_through(self, viewed: ViewedScene, to_page: ViewerTransform, index: int) -> None:
        """Move the browser's eye into a camera."""
        if not isinstance(self._client, viser.ClientHandle):
            return
        camera = viewed.slices[index].camera
        with self._client.atomic():
            self._client.camera.wxyz = wxyz_of(camera.c2w)
            self._client.camera.position = to_page(camera.center).numpy()
            self._client.camera.fov = 2 * math.atan(half_extent(camera)[1])

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

    def show_background(self, picture: Picture8 | None) -> None:
        """Fill the window behind everything with a picture."""
        self._client.scene.set_background_image(picture, format="jpeg", jpeg_quality=_LARGE_QUALITY)
        self._client.flush()

    def _add_points(
        self, name: str, positions: NDArray[np.float32], colours: NDArray[np.uint8], radius: float
    ) -> viser.PointCloudHandle:
        return self._client.scene.add_point_cloud(
            name,
            positions.astype(np.float32),
            colours,
            # viser's size of a point is half of its width.
            point_size=radius,
            point_shape="circle",
            point_shading="flat",
            precision="float32",
        )

    def _frustum(
        self, viewed: ViewedScene, colours: Colours, index: int, to_page: ViewerTransform, keyframes: Sequence[str]
    ) -> viser.CameraFrustumHandle:
        place = viewed.slices[index]
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
            color=_KEYFRAME if place.target in keyframes else _LINE_GREY,
            image=viewed.picture(colours.pixels, index),
            format="jpeg",
            jpeg_quality=_JPEG_QUALITY,
            wxyz=wxyz_of(place.camera.c2w),
            position=to_page(place.camera.center).numpy(),
            visible=self.are_cameras_shown,
            cast_shadow=False,
            receive_shadow=False,
        )


def prepare(server: viser.ViserServer, to_page: ViewerTransform) -> None:
    """Set what is the same for all browsers: no lights, which way is up, the first look."""
    # Nothing here casts a shadow or shines, and lights cost more than all points together.
    server.scene.configure_default_lights(enabled=False, cast_shadow=False)
    server.scene.configure_environment_map(None)
    server.scene.set_up_direction(to_page.up.numpy())
    first = server.initial_camera
    first.up, first.position, first.look_at = to_page.up.numpy(), to_page.eye.numpy(), np.zeros(3)
    first.fov, first.near, first.far = FIELD_OF_VIEW, _NEAR, 200.0


def first_eye(to_page: ViewerTransform, page: Page) -> Eye:
    """Return the eye that sees all of a scene; from farther off if the window is narrow."""
    camera = page.camera if isinstance(page, viser.ClientHandle) else None
    farther = 1.0 if camera is None else max(1.0, camera.image_height / max(1, camera.image_width))
    # The panel lies below then: what is looked at stands above the middle.
    lower = -_ABOVE_PANEL * (farther - 1) * to_page.up
    position = lower + farther * to_page.eye
    return Eye(_place(position.numpy()), _place(lower.numpy()), _place(to_page.up.numpy()), FIELD_OF_VIEW)


def eye_of(camera: viser.CameraHandle) -> Eye:
    """Return where a browser looks from."""
    position, look_at, up = (_place(one) for one in (camera.position, camera.look_at, camera.up_direction))
    return Eye(position, look_at, up, float(camera.fov))


def page_camera(camera: viser.CameraHandle, height: int) -> PageCamera:
    """Return the camera of a browser's window, for a picture of such a height."""
    width = max(1, round(height * camera.image_width / max(1, camera.image_height)))
    c2w = torch.eye(4, dtype=torch.float64)
    c2w[:3, :3] = torch.from_numpy(transforms.SO3(np.asarray(camera.wxyz)).as_matrix())
    c2w[:3, 3] = torch.from_numpy(np.asarray(camera.position, dtype=np.float64))
    return PageCamera(torch.linalg.inv(c2w), float(camera.fov), height, width)


def wxyz_of(c2w: Tensor) -> NDArray[np.float64]:
    """Return a camera's heading as viser takes it."""
    return np.asarray(transforms.SO3.from_matrix(c2w[:3, :3].numpy()).wxyz, dtype=np.float64)


def _place(values: NDArray[np.float64]) -> Place:
    x, y, z = (float(one) for one in values)
    return x, y, z
