"""A film through a scene: along the cameras of the capture, or through views that somebody kept."""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.pipeline.targets import interpolated_path
from lift3d.results.render.video_file import write_video
from lift3d.viewer.raster import PageCamera
from lift3d.viewer.stage import Stage
from lift3d.viewer.viewed_scene import Picture8

_FPS, _HEIGHT, _WIDEST = 24, 720, 1280


def film(
    kept: Sequence[PageCamera],
    stage: Stage,
    seconds: float,
    picture: Callable[[PageCamera], Picture8],
    report: Callable[[float], None],
) -> bytes:
    """Return an MP4 of what is shown along a smooth path through the views, two at least, else through the capture."""
    cameras = film_cameras(stage, kept, max(2, round(seconds * _FPS)))

    def frames() -> Iterator[Picture8]:
        for number, camera in enumerate(cameras):
            report(number / len(cameras))
            yield picture(camera)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "film.mp4"
        write_video(out, frames(), _FPS)
        return out.read_bytes()


def film_cameras(stage: Stage, kept: Sequence[PageCamera] = (), count: int = 100) -> list[PageCamera]:
    """Return cameras along a smooth path through the views, if they are two at least, else through the capture's."""
    through = [_page_to_camera(one) for one in kept] if len(kept) > 1 else _of_capture(stage)
    return [_camera_to_page(one) for one in interpolated_path(through, count)]


def _of_capture(stage: Stage) -> list[Camera]:
    """Return the cameras of the capture where the page has them."""
    to_page, cameras = stage.to_page, []
    for one in stage.viewed.cameras:
        w2c = one.w2c.clone()
        w2c[:3, 3] = -w2c[:3, :3] @ to_page(one.center)
        cameras.append(Camera(one.K, w2c, one.size))
    return cameras


def _page_to_camera(one: PageCamera) -> Camera:
    focal, size = one.focal, ImageSize(one.height, one.width)
    K = torch.tensor([[focal, 0, one.width / 2], [0, focal, one.height / 2], [0, 0, 1]], dtype=torch.float64)
    return Camera(K, one.w2c, size)


def _camera_to_page(camera: Camera) -> PageCamera:
    """Return a camera of the film: as wide as its own, but even and no larger than players like."""
    fov = 2 * math.atan(camera.size.height / 2 / float(camera.K[1, 1]))
    width = min(_WIDEST, round(_HEIGHT * camera.size.width / camera.size.height))
    return PageCamera(camera.w2c, fov, _HEIGHT, width + width % 2)
