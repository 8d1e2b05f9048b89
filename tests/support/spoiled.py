"""Captures that were spoiled on purpose, in one way each: what a diagnosis has to name, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.scene import Frame, Scene, View
from lift3d.ingest.diagnosis.rolling_shutter import motion
from lift3d.scenes.wrapped_frame import WrappedFrame
from lift3d.synthetic.families import build_world
from lift3d.synthetic.shading import render

Change = Callable[[Frame], Frame]


@dataclass(frozen=True, slots=True, eq=False)
class ChangedFrame(WrappedFrame):
    """The pixels of another source, changed once they are loaded; of the camera that it was photographed with."""

    photographed: Camera
    change: Change

    def load(self, camera: Camera, size: ImageSize) -> Frame:
        frame = self.change(self.source.load(self.photographed, size))
        return replace(frame, camera=camera.resized(size))

    def content_digest(self) -> str:
        return self.source.content_digest()


def _changed(view: View, change: Change = lambda frame: frame, camera: Camera | None = None) -> View:
    return View(view.id, camera or view.camera, ChangedFrame(view.source, view.camera, change))


def _some(scene: Scene, change: Change) -> Scene:
    """Every fifth view, from the third on."""
    views = [_changed(view, change) if at % 5 == 2 else view for at, view in enumerate(scene.views)]
    return replace(scene, views=tuple(views))


def _posed(scene: Scene, pose: Callable[[int, View], torch.Tensor]) -> Scene:
    views = [
        _changed(view, camera=Camera(view.camera.K, pose(at, view), view.camera.size))
        for at, view in enumerate(scene.views)
    ]
    return replace(scene, views=tuple(views))


def skew(turn: torch.Tensor) -> torch.Tensor:
    """Return the matrix whose exponential is the rotation of a rotation vector."""
    x, y, z = turn.tolist()
    return torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)


def blurred(scene: Scene) -> Scene:
    """Every fifth view is out of focus: σ of 1/150 of the height, or of 1.5 px."""

    def blur(frame: Frame) -> Frame:
        sigma = max(1.5, frame.image.shape[-2] / 150)
        soft = cv2.GaussianBlur(frame.image.permute(1, 2, 0).contiguous().numpy(), (0, 0), sigma)
        return replace(frame, image=torch.from_numpy(soft).permute(2, 0, 1))

    return _some(scene, blur)


def overexposed(scene: Scene) -> Scene:
    """Every fifth view has twice the light."""
    return _some(scene, lambda frame: replace(frame, image=(frame.image.pow(2.2) * 2).clamp(max=1).pow(1 / 2.2)))


def halved(scene: Scene) -> Scene:
    """The middle half of the path is gone."""
    count = len(scene.views)
    return replace(scene, views=scene.views[: count // 4] + scene.views[count - count // 4 :])


def jittered(scene: Scene) -> Scene:
    """Every pose is turned so that pixels move by 3, in a direction of its own."""

    def turned(at: int, view: View) -> torch.Tensor:
        angle = 3 / float(view.camera.K[1, 1])
        direction = 2.399963 * at  # the golden angle
        x, y = angle * torch.tensor([direction, direction - 1.5708]).cos()
        turn = torch.eye(4, dtype=torch.float64)
        turn[:3, :3] = torch.linalg.matrix_exp(skew(torch.stack([x, y, torch.zeros_like(x)]).double()))
        return turn @ view.camera.w2c

    return _posed(scene, turned)


def mirrored(scene: Scene) -> Scene:
    """Poses are of the mirrored world: left-handed axes, read as right-handed ones."""
    flip = torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64))
    return _posed(scene, lambda _, view: flip @ view.camera.w2c @ flip)


def refocused(scene: Scene) -> Scene:
    """Focal lengths are four fifths of what they were."""
    scale = torch.tensor([0.8, 0.8, 1], dtype=torch.float64)
    views = []
    for view in scene.views:
        K = view.camera.K.clone()
        K[0, 0], K[1, 1] = K[0, 0] * scale[0], K[1, 1] * scale[1]
        views.append(_changed(view, camera=replace(view.camera, K=K)))
    return replace(scene, views=tuple(views))


def turned_on_the_spot(scene: Scene) -> Scene:
    """One photograph, seen by a camera that turns by 34° in all where it stands."""
    first = scene.views[0]
    views = []
    for at in range(len(scene.views)):
        angle = torch.tensor(0.6 * (at / len(scene.views) - 0.5), dtype=torch.float64)
        turn = torch.eye(4, dtype=torch.float64)
        turn[0, 0], turn[0, 2], turn[2, 0], turn[2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
        views.append(
            View(
                scene.views[at].id,
                Camera(first.camera.K, turn @ first.camera.w2c, first.camera.size),
                ChangedFrame(first.source, first.camera, _TurnedPixels(turn[:3, :3])),
            )
        )
    return replace(scene, views=tuple(views))


@dataclass(frozen=True, slots=True, eq=False)
class _TurnedPixels:
    """What a camera that turned on the spot sees of a photograph: a homography; nothing where it was not taken."""

    turn: torch.Tensor

    def __call__(self, frame: Frame) -> Frame:
        K, size = frame.camera.K, frame.camera.size
        # Pixel centres are OpenCV's integers, and ours plus a half.
        shift = torch.eye(3, dtype=torch.float64)
        shift[:2, 2] = 0.5
        warp = (torch.linalg.inv(shift) @ K @ self.turn @ torch.linalg.inv(K) @ shift).numpy()
        extent = (size.width, size.height)
        image = cv2.warpPerspective(frame.image.permute(1, 2, 0).contiguous().numpy(), warp, extent)
        seen = cv2.warpPerspective(frame.is_valid.numpy().astype("float32"), warp, extent)
        is_valid = torch.from_numpy(seen) > 0.99
        return replace(frame, image=torch.from_numpy(image).permute(2, 0, 1), is_valid=is_valid, z_depth=None)


def of_mixed_sizes(scene: Scene) -> Scene:
    """Every third view has two thirds of the rows and columns, and says so."""
    views = []
    for at, view in enumerate(scene.views):
        size = view.camera.size
        small = ImageSize(2 * size.height // 3, 2 * size.width // 3)
        views.append(_changed(view, camera=view.camera.resized(small)) if at % 3 == 0 else view)
    return replace(scene, views=tuple(views))


def masked(scene: Scene, *, inverted: bool) -> Scene:
    """A mask of the capture's middle, as of the object that it is of, or of all but that."""

    def mask(frame: Frame) -> Frame:
        height, width = frame.is_valid.shape
        y = (torch.arange(height) + 0.5) / height - 0.5
        x = (torch.arange(width) + 0.5) / width - 0.5
        is_object = (y[:, None] / 0.34) ** 2 + (x[None] / 0.34) ** 2 < 1
        return replace(frame, is_valid=frame.is_valid & (is_object ^ inverted))

    return replace(scene, views=tuple(_changed(view, mask) for view in scene.views))


_ROWS = 4


def rolled(scene: Scene, share: float) -> Scene:
    """A computed scene whose rows were read one after the other, over so much of the time from view to view."""
    spec = scene.views[0].source.spec  # type: ignore[attr-defined]
    world, turns, steps = build_world(spec.family, spec.seed), *motion([view.camera for view in scene.views])

    def read_out(camera: Camera, turn: torch.Tensor, step: torch.Tensor) -> Change:
        bands = []
        for top in range(0, camera.size.height, _ROWS):
            time = share * ((top + _ROWS / 2) / camera.size.height - 0.5)
            w2c, K = torch.eye(4, dtype=torch.float64), camera.K.clone()
            w2c[:3, :3] = torch.linalg.matrix_exp(time * skew(turn)) @ camera.w2c[:3, :3]
            w2c[:3, 3] = -w2c[:3, :3] @ (camera.center + time * step)
            K[1, 2] -= top
            bands.append(render(world, Camera(K, w2c, ImageSize(_ROWS, camera.size.width))).image)
        return lambda frame: replace(frame, image=torch.cat(bands, dim=1), z_depth=None)

    views = [
        _changed(view, read_out(view.camera, turn, step))
        for view, turn, step in zip(scene.views, turns, steps, strict=True)
    ]
    return replace(scene, views=tuple(views))


# What was done, and the finding that names it.
SPOILED: dict[str, tuple[Callable[[Scene], Scene], str]] = {
    "blur": (blurred, "blur"),
    "exposure": (overexposed, "exposure"),
    "half the views gone": (halved, "gap"),
    "poses off by 3 px": (jittered, "poses"),
    "mirrored axes": (mirrored, "convention"),
    "wrong focal length": (refocused, "focal length"),
    "rotation only": (turned_on_the_spot, "rotation only"),
    "mixed sizes": (of_mixed_sizes, "sizes"),
    "masks inverted": (lambda scene: masked(scene, inverted=True), "masks"),
}


def rescaled_depth(scene: Scene, unit: float) -> Scene:
    """Depth is in another unit than poses."""

    def scaled(frame: Frame) -> Frame:
        return frame if frame.z_depth is None else replace(frame, z_depth=unit * frame.z_depth)

    return replace(scene, views=tuple(_changed(view, scaled) for view in scene.views))
