"""Rain and drops on the lens, rendered into captures: what is under them is read from the scene's other views.

Places are known here (masks, as a capture's own ``masks/`` would say); the truth is the capture before it was spoiled.
"""

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from lift3d.bench.systems.parts import Asked
from lift3d.bench.systems.row import SystemRow
from lift3d.config import Execution, parse_recipe
from lift3d.domain.lifted import LiftedView
from lift3d.domain.scene import Frame
from lift3d.errors import NoOverlapError, SceneError
from lift3d.geometry.projection import is_inside, project, unproject
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.results.cloud import cells_at, whole_grid
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.opened import open_lifted
from lift3d.runs.driver import run_serially
from lift3d.scenes.catalog import DROPLETS, RAIN, read_scene
from lift3d.scenes.weather import SpoiledFrame

SCENES = ("procedural:room?seed=9000&views=24&depth=0&height=144&width=192",)
IMAGE_HEIGHT = 144
# Fewer spoiled pixels of a view say nothing of it.
_FEWEST_PIXELS = 20
# Depths of two views that show one place differ by less than this share.
_ONE_SURFACE = 0.05
# Radius of what OpenCV's inpainting looks at, pixels.
_INPAINT_PX = 5

Image = Float[ndarray, "3 height width"]


def measure(asked: Asked) -> list[SystemRow]:
    """Spoil a scene in both ways, lift its photographs, and judge what stands where it was spoiled."""
    return [_row(asked, kind) for kind in (RAIN, DROPLETS)]


def _row(asked: Asked, kind: str) -> SystemRow:
    location = f"{kind}:seed=0&known=1:{asked.scene}"
    recipe = parse_recipe(
        {"scenes": (location,), "operators": ("rgb",), "image_height": IMAGE_HEIGHT, "metrics": ("coverage",)}
    )
    (record,) = run_serially(recipe, Execution(store=asked.store))
    if not record.is_ok:
        raise SceneError(f"'{location}' could not be run: {record.reason}", scene=location)
    lifted = open_lifted(asked.store, run_id=recipe.run_id, captures=True)
    found: dict[str, list[float]] = {}
    views = {view.target: view for view in lifted.views()}
    spoiled = dict(_spoiled(lifted, views, asked.scene))
    for target, (shown, clean, under) in spoiled.items():
        pictures = {
            "here": views[target].prediction.values.numpy(),
            "as it came": shown.image.numpy(),
            "inpainted per view": _inpainted(shown.image, under),
            "nearest view": _from_nearest(views, {name: one[0] for name, one in spoiled.items()}, target),
        }
        for name, picture in pictures.items():
            found.setdefault(name, []).append(_psnr(picture, clean.image.numpy(), under))
        covered = views[target].prediction.is_valid.numpy()[under]
        found.setdefault("share seen elsewhere", []).append(float(covered.mean()))
        found.setdefault("share spoiled", []).append(float(under.mean()))
    if not found:
        raise NoOverlapError(f"No view of '{asked.scene}' is spoiled at {_FEWEST_PIXELS} pixels or more.")
    means = {name: float(np.mean(values)) for name, values in found.items()}
    scene = read_scene(asked.scene).id
    return SystemRow(
        "restoration", f"{scene}, {kind}", "PSNR under masks, dB", True, means["here"],
        {name: means[name] for name in ("as it came", "inpainted per view", "nearest view")},
        {},
        {name: means[name] for name in ("share seen elsewhere", "share spoiled")},
    )  # fmt: skip


def _spoiled(
    lifted: LiftedScene, views: Mapping[str, LiftedView], location: str
) -> Iterator[tuple[str, tuple[Frame, Frame, Bool[ndarray, "height width"]]]]:
    """Yield the views as they came, as they were before, and where they are spoiled."""
    before = read_scene(location)
    for target in views:
        view, clean = lifted.scene.view(target), before.view(target).load(IMAGE_HEIGHT)
        if not isinstance(view.source, SpoiledFrame):
            continue
        under = view.source.is_spoiled(view.camera, clean.camera.size) & clean.is_valid.numpy()
        if under.sum() >= _FEWEST_PIXELS:
            yield target, (view.load(IMAGE_HEIGHT), clean, under)


def _inpainted(image: Float[Tensor, "3 height width"], under: Bool[ndarray, "height width"]) -> Image:
    """Fill from the view alone (Telea 2004)."""
    pixels = np.rint(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    filled = cv2.inpaint(pixels, under.astype(np.uint8), _INPAINT_PX, cv2.INPAINT_TELEA)
    return np.asarray(filled.transpose(2, 0, 1) / np.float32(255))


def _from_nearest(views: Mapping[str, LiftedView], frames: Mapping[str, Frame], target: str) -> Image:
    """Copy each spoiled pixel from the nearest view that sees its place unspoiled, at the depth that was lifted."""
    own, frame = views[target], frames[target]
    filled = frame.image.clone()
    camera, depths = own.camera, own.lifted[0].z_depth
    rows, cols = frame.is_valid.shape
    uv = cell_centers(rows, cols).double()
    z_depth = depths.flatten()[cells_at(own.lifted[0].features.grid, uv)].double()
    open_ = ~frame.is_valid & torch.isfinite(z_depth)
    xyz = transform(camera.c2w, unproject(uv, z_depth.nan_to_num(1.0), camera.K))
    for name in _by_distance(views, frames, target):
        other, source = views[name], frames[name]
        at, is_seen = project(transform(other.camera.w2c, xyz[open_]), other.camera.K)
        is_seen &= is_inside(at, rows, cols)
        at = torch.where(is_seen[:, None], at, 0.0)
        pixel = cells_at(whole_grid(other.camera.size, rows, cols), at)
        seen_z = other.lifted[0].z_depth.flatten()[cells_at(other.lifted[0].features.grid, at)]
        own_z = transform(other.camera.w2c, xyz[open_])[:, 2]
        is_seen &= ((seen_z / own_z - 1).abs() < _ONE_SURFACE) & source.is_valid.flatten()[pixel]
        places = torch.nonzero(open_)[is_seen]
        filled[:, places[:, 0], places[:, 1]] = source.image.flatten(1)[:, pixel[is_seen]]
        open_[places[:, 0], places[:, 1]] = False
        if not bool(open_.any()):
            break
    return np.asarray(filled.numpy())


def _by_distance(views: Mapping[str, LiftedView], frames: Mapping[str, Frame], target: str) -> Sequence[str]:
    center = views[target].camera.center
    others = [name for name in frames if name != target and frames[name].image.shape == frames[target].image.shape]
    return sorted(others, key=lambda name: float((views[name].camera.center - center).norm()))


def _psnr(picture: Image, true: Image, where: Bool[ndarray, "height width"]) -> float:
    error = float(np.square(picture - true)[:, where].mean())
    return -10 * float(np.log10(max(error, 1e-10)))
