"""Moments of a rig, edited by chance: do places that never move look alike over time, and is what moves still there?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.bench.systems.generators import edited, written
from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene import Scene
from lift3d.results.lift import lift
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.moments import CameraOverTime, cameras_of, is_still

SCENES = ("procedural:room?seed=9000&views=4&times=8&spacing=4",)
_HEIGHT = 120


def measure(asked: Asked) -> list[SystemRow]:
    """Lift every moment of a rig, with what stands still in common and alone, and tell what flickers."""
    rig = read_scene(asked.scene)
    cameras = cameras_of(rig)
    count = len(cameras[0].views)
    shared: dict[ViewId, Prediction] = {}
    alone, plain = dict(shared), dict(shared)
    with TemporaryDirectory(prefix="moments-") as folder:
        written(rig, edited, Path(folder), _HEIGHT)
        name = f"files:{folder}?kind=image"
        for moment in range(count):
            scene = read_scene(f"moment:{moment}:{asked.scene}")
            own, first = _lifted(scene, name, count)
            shared, plain = shared | own, plain | first
            few = replace(scene, views=scene.views[::count])
            alone |= _lifted(few, name, None)[0]
    flicker = {way: _flicker(said, cameras) for way, said in (("here", shared), ("alone", alone), ("plain", plain))}
    moving = [_moves(view.load(_HEIGHT).image, camera) for camera in cameras for view in camera.views]
    seen = [shared[view.id].is_valid for camera in cameras for view in camera.views]
    covered = torch.cat([valid[where] for valid, where in zip(seen, moving, strict=True)]).float().mean()
    return [
        SystemRow(
            "moments", rig.id, "flicker left where nothing moves", False, flicker["here"] / flicker["plain"],
            {"each view alone": 1.0, "each moment alone": flicker["alone"] / flicker["plain"]}, {"none": 0.0},
            {"coverage of what moves": float(covered), "flicker of views, of 255": 255 * flicker["plain"]},
        )
    ]  # fmt: skip


def _lifted(scene: Scene, name: str, holdout: int | None) -> tuple[dict[ViewId, Prediction], dict[ViewId, Prediction]]:
    """Return what is lifted at the targets, and the plain answers there."""
    found = lift(scene, name, image_height=_HEIGHT, holdout=holdout, target_mode="refine", metrics=("coverage",))
    plain = {target: found.plain(target) for target in found.targets}
    return (
        {target: found.view(target).prediction for target in found.targets},
        {target: view.prediction for target, view in plain.items() if view is not None},
    )


def _flicker(said: Mapping[ViewId, Prediction], cameras: Sequence[CameraOverTime]) -> float:
    """Return the mean distance of pixels that never move from their mean over time."""
    parts = []
    for camera in cameras:
        still = ~torch.stack([_moves(view.load(_HEIGHT).image, camera) for view in camera.views]).any(0)
        pictures = torch.stack([said[view.id].values for view in camera.views])
        parts.append((pictures - pictures.mean(0)).abs().mean((0, 1))[still])
    return float(torch.cat(parts).mean())


def _moves(image: Float[Tensor, "3 height width"], camera: CameraOverTime) -> Bool[Tensor, "height width"]:
    size = camera.views[0].camera.size.with_height(_HEIGHT)
    return ~is_still(image, camera.median(size))
