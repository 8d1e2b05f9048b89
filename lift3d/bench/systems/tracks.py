"""Points followed through computed scenes, whose depth and occlusion are known, beside chained optical flow.

Letters: the truth of a point is the ray of its pixel, traced; it is visible where a picture of depth that is drawn
FINER times finer shows nothing before it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.config import Execution, parse_recipe
from lift3d.domain.camera import Camera
from lift3d.domain.scene import Frame
from lift3d.errors import SceneError
from lift3d.geometry.projection import is_inside, project, unproject
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import nearest_cells, sample
from lift3d.metrics.point_tracks import RESOLUTION, TrackScores, median_pixel_error, pixel_scores, track_scores
from lift3d.results.cloud import depths_of, surface_of
from lift3d.results.opened import open_lifted
from lift3d.results.tracks import SceneTracks, scene_tracks
from lift3d.runs.driver import run_serially
from lift3d.scenes.catalog import read_scene
from lift3d.surface.depth_map import DepthMap
from lift3d.synthetic.families import build_world
from lift3d.synthetic.reader import SCHEME, ProceduralSpec
from lift3d.synthetic.tracing import cast
from lift3d.synthetic.world import World

SCENES = tuple(
    f"procedural:{family}?seed={seed}&views=24{more}"
    for family in ("room", "tabletop", "objects")
    for seed in (9000, 9001)
    for more in ("", "&depth=0")
)
IMAGE_HEIGHT = 120
# Points are asked for in every so many views, in the middle of squares whose middle is a pixel's.
_EVERY, _STEP_PX = 6, 11.0
FINER, _BEFORE = 4, 0.01
# Flow there and back misses where it began by more than this: it was occluded.
_RETURN = (0.01, 0.5)

Tracks3D = tuple[Float[ndarray, "view point 3"], Float[ndarray, "view point 2"], Bool[ndarray, "view point"]]


@dataclass(frozen=True, slots=True)
class _Figures:
    scaled: TrackScores
    unscaled: TrackScores
    pixels: TrackScores
    error_px: float


def measure(asked: Asked) -> list[SystemRow]:
    """Follow points of a computed scene, by its own depth or by stereo, and judge them by the truth."""
    if not asked.scene.startswith(SCHEME) or ProceduralSpec.parse(asked.scene).movers:
        raise SceneError(f"'{asked.scene}' is no computed scene that stands still, so what is hidden is not known.")
    scene, spec = read_scene(asked.scene), ProceduralSpec.parse(asked.scene)
    world = build_world(spec.family, spec.seed, has_plain_walls=bool(spec.plain))
    recipe = parse_recipe(
        {"scenes": (asked.scene,), "operators": ("rgb",), "image_height": IMAGE_HEIGHT, "metrics": ("coverage",)}
    )
    (record,) = run_serially(recipe, Execution(store=asked.store))
    if not record.is_ok:
        raise SceneError(f"'{asked.scene}' could not be run: {record.reason}", scene=asked.scene)
    lifted = open_lifted(asked.store, run_id=recipe.run_id, captures=True)
    start = time.perf_counter()
    tracks = scene_tracks(lifted, grids=[(view, _STEP_PX) for view in lifted.targets[::_EVERY]])
    seconds = time.perf_counter() - start
    true, frames = _truth(world, tracks), [scene.view(view).load(IMAGE_HEIGHT) for view in tracks.views]
    surface = surface_of(lifted)
    depths = [depth for _, depth in depths_of(lifted, surface, tracks.views)]
    here = _placed(tracks.cameras, torch.from_numpy(tracks.xyz))
    found = {
        "here": (*here[:2], tracks.is_visible),
        "optical flow": _by_flow(tracks, frames, depths),
        "never hidden": here,
    }
    figures = {name: _judged(one, true, tracks.cameras) for name, one in found.items()}
    by, own = ("stereo" if surface.method == "sweep" else "sensor depth"), figures["here"]
    floors = {name: one for name, one in figures.items() if name != "here"}
    details = {
        "APD": own.scaled.within,
        "3D-AJ unscaled": own.unscaled.jaccard,
        "optical flow unscaled": floors["optical flow"].unscaled.jaccard,
        "AJ in pixels": own.pixels.jaccard,
        "points": float(len(tracks)),
        "visible %": 100 * float(true[2].mean()),
        "seconds": seconds,
    }
    return [
        SystemRow(
            "tracks", scene.id, f"3D-AJ, {by}", True, own.scaled.jaccard,
            {floor: one.scaled.jaccard for floor, one in floors.items()}, {"truth": 1.0}, details,
        ),
        SystemRow(
            "tracks", scene.id, f"occlusion accuracy, {by}", True, own.scaled.occlusion,
            {floor: one.scaled.occlusion for floor, one in floors.items()}, {"truth": 1.0},
        ),
        SystemRow(
            "tracks", scene.id, f"pixel error, median, {by}", False, own.error_px,
            {"optical flow": floors["optical flow"].error_px}, {"truth": 0.0},
        ),
    ]  # fmt: skip


def _placed(cameras: Sequence[Camera], xyz: Float[Tensor, "point 3"]) -> Tracks3D:
    """Return points of the world in every view, visible wherever they are on its image."""
    own = torch.stack([transform(camera.w2c, xyz) for camera in cameras])
    uv = torch.stack([project(one, camera.K)[0] for one, camera in zip(own, cameras, strict=True)])
    on_image = [is_inside(at, camera.size.height, camera.size.width) for at, camera in zip(uv, cameras, strict=True)]
    return own.numpy(), uv.numpy(), torch.stack(on_image).numpy()


def _truth(world: World, tracks: SceneTracks) -> Tracks3D:
    xyz = torch.zeros(len(tracks), 3, dtype=torch.float64)
    for number, camera in enumerate(tracks.cameras):
        own = torch.from_numpy(tracks.query_view == number)
        uv = torch.from_numpy(tracks.query_uv)[own]
        xyz[own] = transform(camera.c2w, unproject(uv, _under(world, camera, uv), camera.K))
    in_camera, at, seen = _placed(tracks.cameras, xyz)
    for number, camera in enumerate(tracks.cameras):
        fine = camera.resized(camera.size.with_height(FINER * camera.size.height))
        front = _under(world, fine, FINER * torch.from_numpy(at[number])).numpy()
        seen[number] &= front > (1 - _BEFORE) * in_camera[number, :, 2]
    return in_camera, at, seen


def _under(world: World, camera: Camera, uv: Float[Tensor, "point 2"]) -> Float[Tensor, " point"]:
    """Return traced depth of the pixels under places; NaN beside the image."""
    z_depth = cast(world, camera).z_depth
    cell = nearest_cells(uv, *z_depth.shape)
    return torch.where(cell >= 0, z_depth.flatten()[cell.clamp(min=0)], torch.nan)


def _judged(found: Tracks3D, true: Tracks3D, cameras: Sequence[Camera]) -> _Figures:
    focal = np.array([float((one.K[0, 0] * one.K[1, 1]).sqrt()) for one in cameras])
    scale = RESOLUTION / min(cameras[0].size.height, cameras[0].size.width)
    (xyz, uv, seen), (true_xyz, true_uv, true_seen) = found, true
    return _Figures(
        track_scores(xyz, seen, true_xyz, true_seen, scale * focal),
        track_scores(xyz, seen, true_xyz, true_seen, scale * focal, "none"),
        pixel_scores(scale * uv, seen, scale * true_uv, true_seen),
        scale * median_pixel_error(uv, true_uv, true_seen),
    )


def _by_flow(tracks: SceneTracks, frames: Sequence[Frame], depths: Sequence[DepthMap]) -> Tracks3D:
    """Follow points from view to view by dense optical flow, and read each view's own depth where they come to be.

    A point is hidden from where flow there and back does not return, or leaves the image.

    Source:
        Flow: Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016 (OpenCV). Its check: Sundaram,
        Brox & Keutzer, Dense Point Trajectories, ECCV 2010, §3.
    """
    grey = [_grey(frame) for frame in frames]
    count, points = len(grey), len(tracks)
    uv, seen = np.full((count, points, 2), np.nan), np.zeros((count, points), dtype=bool)
    uv[tracks.query_view, np.arange(points)] = tracks.query_uv
    seen[tracks.query_view, np.arange(points)] = True
    for order in (range(count), range(count - 1, -1, -1)):
        for a, b in pairwise(order):
            # Points whose query lies before, on this way.
            is_on = (tracks.query_view <= a) if b > a else (tracks.query_view >= a)
            to, is_back = _step(uv[a][is_on], _flow(grey[a], grey[b]), _flow(grey[b], grey[a]))
            uv[b][is_on], seen[b][is_on] = to, seen[a][is_on] & is_back
    return _lifted(tracks.cameras, uv, depths), uv, seen


def _step(
    uv: Float[ndarray, "point 2"], there: Float[Tensor, "2 row col"], back: Float[Tensor, "2 row col"]
) -> tuple[Float[ndarray, "point 2"], Bool[ndarray, " point"]]:
    at = torch.from_numpy(uv)
    moved = sample(there, at.float()).T
    to = at + moved
    returned = sample(back, to.float()).T
    slack = _RETURN[0] * (moved.square().sum(1) + returned.square().sum(1)) + _RETURN[1]
    is_back = ((moved + returned).square().sum(1) < slack) & is_inside(to, *there.shape[1:])
    return to.numpy(), is_back.numpy()


def _lifted(
    cameras: Sequence[Camera], uv: Float[ndarray, "view point 2"], depths: Sequence[DepthMap]
) -> Float[ndarray, "view point 3"]:
    own = []
    for camera, at, depth in zip(cameras, torch.from_numpy(uv), depths, strict=True):
        cell = nearest_cells(at, *depth.grid.lattice)
        z_depth = torch.where(cell >= 0, depth.z_depth.flatten()[cell.clamp(min=0)], torch.nan).double()
        own.append(unproject(at, z_depth, camera.K))
    return torch.stack(own).numpy()


def _grey(frame: Frame) -> UInt8[ndarray, "height width"]:
    pixels = np.rint(frame.image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def _flow(a: UInt8[ndarray, "height width"], b: UInt8[ndarray, "height width"]) -> Float[Tensor, "2 height width"]:
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)
    return torch.from_numpy(method.calc(a, b, None)).permute(2, 0, 1)
