"""Where a browser looks from: its first look, its eye as viser has it, and as a camera that pictures are drawn with."""

import math

import numpy as np
import torch
import viser
from numpy.typing import NDArray
from torch import Tensor
from viser import transforms

from lift3d.viewer.choice import Eye, Place
from lift3d.viewer.raster import PageCamera
from lift3d.viewer.transform import FIELD_OF_VIEW, ViewerTransform, half_extent
from lift3d.viewer.viewed_scene import ViewedScene

# Of what a window is higher than wide, page units.
_ABOVE_PANEL = 0.6
# A browser; where there is none, whatever comes to the server.
Page = viser.ClientHandle | viser.ViserServer


def look(page: Page, eye: Eye) -> None:
    """Move a browser's eye."""
    if not isinstance(page, viser.ClientHandle):
        return
    camera = page.camera
    with page.atomic():
        camera.up_direction, camera.position, camera.look_at = (
            np.array(one) for one in (eye.up, eye.position, eye.look_at)
        )
        camera.fov = eye.fov


def look_through(page: Page, viewed: ViewedScene, to_page: ViewerTransform, index: int) -> None:
    """Move a browser's eye into a camera."""
    if not isinstance(page, viser.ClientHandle):
        return
    camera = viewed.slices[index].camera
    with page.atomic():
        page.camera.wxyz = wxyz_of(camera.c2w)
        page.camera.position = to_page(camera.center).numpy()
        page.camera.fov = 2 * math.atan(half_extent(camera)[1])


def first_eye(to_page: ViewerTransform, page: Page) -> Eye:
    """Return the eye that sees all of a scene; from farther off if the window is narrow."""
    camera = page.camera if isinstance(page, viser.ClientHandle) else None
    # By the root of it: what lies around may be cut off, and from far behind the cameras things may stand before it.
    farther = 1.0 if camera is None else math.sqrt(max(1.0, camera.image_height / max(1, camera.image_width)))
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
