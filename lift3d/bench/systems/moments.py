"""Moments of a rig, edited by chance: do places that never move look alike over time, and is what moves still there?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lift3d.bench.systems.generators import edited, written
from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.domain.keys import ViewId
from lift3d.domain.lifted import Prediction
from lift3d.domain.scene import Scene
from lift3d.results.lift import lift
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.moments import CameraOverTime, cameras_of, is_still, moves

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
    there, there_alone = (_there(said, plain, cameras) for said in (shared, alone))
    return [
        SystemRow(
            "moments", rig.id, "flicker left where nothing moves", False, flicker["here"] / flicker["plain"],
            {"each view alone": 1.0, "each moment alone": flicker["alone"] / flicker["plain"]}, {"none": 0.0},
            {
                "what moves is there": there,
                "the same, each moment alone": there_alone,
                "flicker of views, of 255": 255 * flicker["plain"],
            },
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
        median = camera.median(camera.views[0].camera.size.with_height(_HEIGHT))
        still = torch.stack([is_still(view.load(_HEIGHT).image, median) for view in camera.views]).all(0)
        pictures = torch.stack([said[view.id].values for view in camera.views])
        parts.append((pictures - pictures.mean(0)).abs().mean((0, 1))[still])
    return float(torch.cat(parts).mean())


def _there(
    said: Mapping[ViewId, Prediction], plain: Mapping[ViewId, Prediction], cameras: Sequence[CameraOverTime]
) -> float:
    """Return the share of moving pixels that show what the view itself shows, rather than what is behind it."""
    parts = []
    for camera in cameras:
        own = torch.stack([plain[view.id].values for view in camera.views])
        lifted = torch.stack([said[view.id].values for view in camera.views])
        nearer = (lifted - own).abs().mean(1) < (lifted - own.median(0).values).abs().mean(1)
        median = camera.median(camera.views[0].camera.size.with_height(_HEIGHT))
        parts.append(nearer[torch.stack([moves(view.load(_HEIGHT).image, median) for view in camera.views])])
    return float(torch.cat(parts).float().mean())
