"""Three, six or nine photographs of a scene: what is seen from between them, by stereo alone and completed.

Letters: of 2 · N views, evenly spaced on the beginning of the camera path, every other one is withheld; the N others
are all there is.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene
from lift3d.errors import NoOverlapError
from lift3d.geometry.rays import cell_centers
from lift3d.results.cloud import cells_at
from lift3d.results.lift import lift
from lift3d.scenes.catalog import read_scene

SCENES = ("procedural:room?seed=9000&views=48&depth=0&plain=1&height=144&width=192",)
_HEIGHT, _COUNTS, _NETWORK = 144, (3, 6, 9), "tiny:depth"
# Views are taken while they look from so far apart at most, or a few more if those are too few.
_ARC_DEG = 60.0
# Of less confidence is what is told as made up.
_DOUBTED = 0.5


def measure(asked: Asked) -> list[SystemRow]:
    """Return PSNR and coverage of withheld views, of stereo that is completed beside stereo alone."""
    scene = read_scene(asked.scene)
    network = asked.operators[0] if asked.operators else _NETWORK
    return [row for count in _COUNTS for row in _rows(_few(scene, count), network, asked, count)]


def _few(scene: Scene, count: int) -> Scene:
    """Return a scene of 2 · count views of the beginning of the path; NoOverlapError if it has too few."""
    if len(scene.views) < 2 * count:
        raise NoOverlapError(f"'{scene.id}' has {len(scene.views)} views; expected at least {2 * count}.")
    first = scene.views[0].camera
    reach = next(
        (place for place, view in enumerate(scene.views) if _apart(first, view.camera) > _ARC_DEG), len(scene.views)
    )
    chosen = np.linspace(0, max(reach, 2 * count) - 1, 2 * count).round().astype(int)
    return replace(scene, views=tuple(scene.views[place] for place in chosen))


def _apart(one: Camera, other: Camera) -> float:
    """Return the angle between the viewing directions of two cameras, degrees."""
    cosine = float((one.c2w[:3, 2] * other.c2w[:3, 2]).sum())
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _rows(scene: Scene, network: str, asked: Asked, count: int) -> Iterator[SystemRow]:
    ways = {"here": f"planar?prior={network}", "planes alone": "planar", "stereo": "sweep"}
    found = {way: _figures(scene, geometry, asked, count) for way, geometry in ways.items()}
    for what, unit in (("PSNR", ", dB"), ("coverage", "")):
        details = {name: value for name, value in found["here"].items() if name not in ("PSNR", "coverage")}
        yield SystemRow(
            "sparse", f"{scene.id}, {count} views", f"{what} of withheld views{unit}", True, found["here"][what],
            {"stereo": found["stereo"][what]}, {},
            {"planes alone": found["planes alone"][what], **(details if what == "PSNR" else {})},
        )  # fmt: skip


def _figures(scene: Scene, geometry: str, asked: Asked, count: int) -> dict[str, float]:
    """Return the means over withheld views; all pixels count, holes as they were filled."""
    lifted = lift(
        scene, "rgb", image_height=_HEIGHT, holdout=2, geometry=geometry, plugins=asked.plugins,
        metrics=("coverage",), sources=count,
    )  # fmt: skip
    found: dict[str, list[float]] = {}
    for view in lifted.views():
        frame = scene.view(view.target).load(_HEIGHT)
        error = torch.where(frame.is_valid, (view.prediction.values - frame.image).square().mean(0), torch.nan)
        sure, cells = view.lifted[0].confidence, view.lifted[0].features.grid
        is_sure = torch.zeros(cells.shape, dtype=torch.bool) if sure is None else sure >= _DOUBTED
        here = is_sure.flatten()[cells_at(cells, cell_centers(*error.shape).double())]
        found.setdefault("PSNR", []).append(_decibel(error))
        found.setdefault("coverage", []).append(float(view.prediction.is_valid[frame.is_valid].float().mean()))
        found.setdefault("PSNR where confident", []).append(_decibel(error[here]))
        found.setdefault("PSNR where in doubt", []).append(_decibel(error[~here]))
        found.setdefault("share in doubt", []).append(float((~here).float().mean()))
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def _decibel(error: Float[Tensor, "*pixel"]) -> float:
    return -10 * math.log10(max(float(error.nanmean()), 1e-10)) if error.numel() else math.nan
