"""Splats as a canvas: is what was lifted of each Gaussian what the surface says, and does it come back in order?

A folder with ``test_garden.npz`` has Gaussians and three cameras, no photographs: labels are painted on it, drawn, and
given back. Of any other scene with depth and labels, a Gaussian stands at each pixel of some views.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from plyfile import PlyData, PlyElement
from scipy.spatial import cKDTree
from torch import Tensor

from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.config import Execution, parse_recipe
from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid
from lift3d.domain.lifted import LiftedView
from lift3d.errors import SceneError
from lift3d.geometry.gaussians import Gaussians
from lift3d.geometry.projection import is_inside, project, unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.splatting import SplatPicture, splat_picture
from lift3d.results.cloud import cells_at, map_under, read_points, surface_of
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.opened import open_lifted
from lift3d.runs.driver import run_serially
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.ply_splats import SplatFile
from lift3d.surface.cloud import SurfacePoints

SCENES = ("procedural:room?seed=9000&views=24", "procedural:tabletop?seed=9001&views=24")
FEATURES, LABELS, IMAGE_HEIGHT = "tiny:encoder", "tiny:segmenter", 96
_GARDEN = "test_garden.npz"
# Pixels of the garden that are a cell; a splat counts as seen with so much of a cell in all views together.
_STRIDE, _SEEN = 2.0, 0.5
# Of computed scenes, whose Gaussians are as small as pixels.
_SHOWN = 1e-3
# A Gaussian stands at each pixel of every such view, as wide as this share of the pixel.
_EVERY, _WIDTH = 4, 0.4
_OPACITY, _PAINTED = 0.95, 8
_MILLION = 1_000_000

Drawn = tuple[Camera, FeatureGrid, SplatPicture]


def measure(asked: Asked) -> list[SystemRow]:
    """Measure what is asked: Gaussians with cameras in a folder, or a scene with depth and labels."""
    path = Path(asked.scene) / _GARDEN
    return _garden(path) if path.is_file() else _scene(asked)


def _garden(path: Path) -> list[SystemRow]:
    with np.load(path, allow_pickle=False) as file:
        xyz, size = torch.from_numpy(file["means3d"]).double(), ImageSize(int(file["height"]), int(file["width"]))
        matrices = torch.from_numpy(file["viewmats"]).double(), torch.from_numpy(file["Ks"]).double()
        cameras = [Camera(K, w2c, size) for w2c, K in zip(*matrices, strict=True)]
    width = cKDTree(xyz.numpy()).query(xyz.numpy(), k=4)[0][:, 1:].mean(1)
    width = width.clip(max=np.quantile(width, 0.99))
    splats = _round(xyz, torch.from_numpy(width))
    began = time.perf_counter()
    drawn = [*_pictures(cameras, splats)]
    painted = _painted(xyz)
    labels = [_drawn_labels(picture, painted) for _, _, picture in drawn]
    back, weight = _given_back(drawn, labels, len(xyz))
    seconds = (time.perf_counter() - began) / len(cameras)
    is_seen = weight > _SEEN
    centres = _at_centres(drawn, labels, xyz)
    million = _seconds_of_a_million(cameras[0], xyz, width)
    return [
        SystemRow(
            "splats", "garden_splat", "labels that come back", True,
            float((back == painted)[is_seen].double().mean()),
            {"centres": float((centres == painted)[is_seen].double().mean())},
            {"all": 1.0},
            {"Gaussians": float(len(xyz)), "seen": float(is_seen.double().mean()),
             "bytes changed by a round trip": float(_changed_bytes(xyz, width)), "seconds a view": seconds,
             "seconds a view of a million": million},
        )
    ]  # fmt: skip


def _scene(asked: Asked) -> list[SystemRow]:
    operators = asked.operators or (FEATURES, LABELS)
    fields = {"scenes": (asked.scene,), "operators": operators, "plugins": asked.plugins, "metrics": ("coverage",)}
    recipe = parse_recipe({**fields, "image_height": IMAGE_HEIGHT})
    (record,) = run_serially(recipe, Execution(store=asked.store))
    if not record.is_ok:
        raise SceneError(f"'{asked.scene}' could not be run: {record.reason}", scene=asked.scene)
    features, labels = (
        open_lifted(asked.store, operator=name, run_id=recipe.run_id, captures=True) for name in operators[:2]
    )
    splats, true, normals = _of_pixels(features)
    return [_consensus(features, splats, normals), _labelled(labels, splats, normals, true)]


def _consensus(lifted: LiftedScene, splats: Gaussians, normals: Tensor) -> SystemRow:
    """How like the surface's features is what every view's own features make of each Gaussian?"""
    on_surface, is_known = _on_surface(lifted, splats, normals, [*lifted.views()])
    in_best_view, _ = _on_surface(lifted, splats, normals, _plain(lifted))
    sums, weight = torch.zeros(len(splats.xyz), on_surface.shape[1]), torch.zeros(len(splats.xyz))
    for view in _plain(lifted):
        features = view.lifted[0].features
        picture = splat_picture(view.camera, features.grid, splats, 0.0)
        own, shown = picture.given_back(features.values.flatten(1).T.float(), len(weight))
        sums, weight = sums + own, weight + shown
    is_known &= weight > _SHOWN

    def likeness(values: Float[Tensor, "splat channel"]) -> float:
        cosine = torch.nn.functional.cosine_similarity(values[is_known], on_surface[is_known], dim=1)
        return float(cosine.nanmedian())

    return SystemRow(
        "splats", lifted.name, "cosine of back-projected 2D features to the surface's", True,
        likeness(sums / weight[:, None]), {"best view alone": likeness(in_best_view)}, {"the surface": 1.0},
    )  # fmt: skip


def _labelled(lifted: LiftedScene, splats: Gaussians, normals: Tensor, true: Int[Tensor, " splat"]) -> SystemRow:
    """Return how many Gaussians have the right label, by what was lifted and by what each view says alone."""
    views, plain = [*lifted.views()], _plain(lifted)
    grids = [FeatureGrid.covering(view.camera.size, 1.0) for view in views]
    drawn = [
        (view.camera, grid, splat_picture(view.camera, grid, splats, 0.0))
        for view, grid in zip(views, grids, strict=True)
    ]
    maps = {"here": plain, "lifted": views}
    votes = {
        name: _given_back(drawn, [view.prediction.values.flatten() for view in own], len(true))
        for name, own in maps.items()
    }
    is_seen = (votes["here"][1] > _SHOWN) & (true >= 0)
    best, _ = _on_surface(lifted, splats, normals, plain, is_label=True)
    centres = _at_centres(drawn, [view.prediction.values.flatten() for view in plain], splats.xyz)

    def right(labels: Int[Tensor, " splat"]) -> float:
        return float((labels == true)[is_seen].double().mean())

    return SystemRow(
        "splats", lifted.name, "labels right", True, right(votes["here"][0]),
        {"best view alone": right(best[:, 0].long()), "centres of 2D": right(centres)},
        {},
        {"Gaussians": float(len(true)), "seen": float(is_seen.double().mean()),
         "lifted, given back": right(votes["lifted"][0])},
    )  # fmt: skip


def _plain(lifted: LiftedScene) -> list[LiftedView]:
    return [lifted.plain(target) or lifted.view(target) for target in lifted.targets]


def _on_surface(
    lifted: LiftedScene, splats: Gaussians, normals: Tensor, views: Sequence[LiftedView], *, is_label: bool = False
) -> tuple[Float[Tensor, "splat channel"], Bool[Tensor, " splat"]]:
    """Return what the view that shows each Gaussian best says there, and where there is one."""
    points = SurfacePoints(splats.xyz, normals, 0.0, len(splats.xyz))
    cloud = read_points(lifted, surface_of(lifted), points)
    found: Tensor | None = None
    for number, view in enumerate(views):
        own, features = cloud.view == number, view.lifted[0].features
        values = view.prediction.values[None] if is_label else features.values
        grids = [] if is_label else [features.grid]
        at = map_under(values.permute(1, 2, 0).float().numpy(), view.camera, grids, cloud.uv[own])
        found = torch.full((len(cloud), at.shape[1]), torch.nan) if found is None else found
        found[own] = torch.from_numpy(at)
    values = torch.full((len(cloud), 1), torch.nan) if found is None else found
    return values.nan_to_num(-1.0) if is_label else values, torch.isfinite(values).all(1)


def _of_pixels(lifted: LiftedScene) -> tuple[Gaussians, Int[Tensor, " splat"], Float[Tensor, "splat 3"]]:
    """Return a Gaussian per pixel of some views, at its true depth, with its true label and its normal."""
    scene = read_scene(lifted.record.location)
    xyz, width, label, normal = [], [], [], []
    for target in lifted.targets[::_EVERY]:
        frame = scene.view(target).load(IMAGE_HEIGHT)
        if frame.z_depth is None or frame.labels is None:
            raise SceneError(f"'{lifted.name}' has no depth or no labels, which Gaussians are made of.")
        K, size, z = frame.camera.K, frame.camera.size, frame.z_depth.double()
        own = unproject(cell_centers(size.height, size.width).double(), z, K)
        down, right = torch.gradient(own, dim=(0, 1))
        turned = torch.nn.functional.normalize(torch.linalg.cross(down, right, dim=-1), dim=-1)
        xyz.append(transform(frame.camera.c2w, own.reshape(-1, 3)))
        normal.append(turned.reshape(-1, 3) @ frame.camera.c2w[:3, :3].T)
        width.append((_WIDTH * z / K[0, 0]).flatten())
        label.append(frame.labels.flatten())
    return _round(torch.cat(xyz), torch.cat(width)), torch.cat(label), torch.cat(normal)


def _round(xyz: Float[Tensor, "splat 3"], width: Float[Tensor, " splat"]) -> Gaussians:
    ball = torch.eye(3, dtype=torch.float64) * width.double().square()[:, None, None]
    return Gaussians(xyz, torch.full((len(xyz),), _OPACITY, dtype=torch.float64), ball)


def _pictures(cameras: Sequence[Camera], splats: Gaussians) -> Iterator[Drawn]:
    for camera in cameras:
        grid = FeatureGrid.covering(camera.size, _STRIDE)
        yield camera, grid, splat_picture(camera, grid, splats, 0.01)


def _painted(xyz: Float[Tensor, "splat 3"]) -> Int[Tensor, " splat"]:
    """Return a label per Gaussian: cubes, a quarter of the middle half of the cloud wide, in turn."""
    side = float((xyz.quantile(0.75, dim=0) - xyz.quantile(0.25, dim=0)).max()) / 4
    return (xyz / side).floor().long().sum(1) % _PAINTED


def _drawn_labels(picture: SplatPicture, labels: Int[Tensor, " splat"]) -> Int[Tensor, " cell"]:
    """Return the label that most of each cell is of; −1 where little is."""
    shares, total = picture.rendered(torch.nn.functional.one_hot(labels, _PAINTED).float())
    return torch.where(total > 0.5, shares.argmax(0), -1).flatten()


def _given_back(
    drawn: Sequence[Drawn], labels: Sequence[Int[Tensor, " cell"]], count: int
) -> tuple[Int[Tensor, " splat"], Float[Tensor, " splat"]]:
    """Return the label of most weight of each Gaussian, and its weight in all views."""
    most = int(max(int(one.max()) for one in labels)) + 1
    votes = torch.zeros(count, most)
    for (_, _, picture), own in zip(drawn, labels, strict=True):
        said = torch.nn.functional.one_hot(own.clamp(min=0).long(), most).float()
        votes += picture.given_back(torch.where(own[:, None] >= 0, said, torch.nan), count)[0]
    return votes.argmax(1), votes.sum(1)


def _at_centres(
    drawn: Sequence[Drawn], labels: Sequence[Int[Tensor, " cell"]], xyz: Float[Tensor, "splat 3"]
) -> Int[Tensor, " splat"]:
    """Return the label that most views show where each Gaussian's centre falls, hidden or not."""
    votes = torch.zeros(len(xyz), int(max(int(one.max()) for one in labels)) + 1)
    for (camera, grid, _), own in zip(drawn, labels, strict=True):
        uv, is_shown = project(transform(camera.w2c, xyz), camera.K)
        is_shown &= is_inside(uv, camera.size.height, camera.size.width)
        said = own[cells_at(grid, uv.nan_to_num(0.0))]
        at = torch.nonzero(is_shown & (said >= 0))[:, 0]
        votes[at, said[at].long()] += 1
    return torch.where(votes.sum(1) > 0, votes.argmax(1), -1)


def _changed_bytes(xyz: Float[Tensor, "splat 3"], width: Float[np.ndarray, " splat"]) -> int:
    """Return how many bytes of a file of the Gaussians differ after it was read and written."""
    names = [*"xyz", "opacity", *(f"scale_{axis}" for axis in range(3)), *(f"rot_{part}" for part in range(4))]
    rows = np.zeros(len(xyz), dtype=[(name, "<f4") for name in names])
    for name, values in zip("xyz", xyz.numpy().T, strict=True):
        rows[name] = values
    rows["opacity"], rows["rot_0"] = np.log(_OPACITY / (1 - _OPACITY)), 1
    for axis in range(3):
        rows[f"scale_{axis}"] = np.log(width)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first.ply", Path(folder) / "second.ply"
        PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(str(first))
        SplatFile(first).write(second, {})
        a, b = (np.frombuffer(path.read_bytes(), dtype=np.uint8) for path in (first, second))
    return int((a != b).sum()) if len(a) == len(b) else max(len(a), len(b))


def _seconds_of_a_million(camera: Camera, xyz: Float[Tensor, "splat 3"], width: Float[np.ndarray, " splat"]) -> float:
    """Return how long a view takes to draw, and to give eight channels back to, a million Gaussians."""
    copies = -(-_MILLION // len(xyz))
    random = torch.Generator().manual_seed(0)
    shift = torch.randn(copies * len(xyz), 3, generator=random, dtype=torch.float64)
    wide = torch.from_numpy(width).repeat(copies)
    splats = _round(xyz.repeat(copies, 1) + shift * wide[:, None], wide / copies ** (1 / 3))
    return _timed(lambda: _draw_and_give_back(camera, splats))


def _draw_and_give_back(camera: Camera, splats: Gaussians) -> None:
    ((_, grid, picture),) = _pictures([camera], splats)
    values = torch.zeros(grid.cell_count, _PAINTED)
    picture.given_back(values, len(splats.xyz))


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
