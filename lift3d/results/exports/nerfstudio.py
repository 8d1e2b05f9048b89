"""A folder that nerfstudio trains on and ``lift3d.read_scene`` reads: images, cameras, lifted depth and predictions.

Axes of cameras are OpenGL's there (x right, y up, z back), camera to world.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lift3d.domain.lifted import LiftedDepth, LiftedView
from lift3d.errors import CameraError
from lift3d.geometry.rays import cell_centers
from lift3d.pipeline.decode import COVERED
from lift3d.results.cloud import map_under
from lift3d.results.colours import Picture
from lift3d.results.exports.files import (
    UNKNOWN_ID,
    file_names,
    image_to_write,
    world_words,
    write_ids,
    write_picture,
    write_share,
)
from lift3d.results.exports.ply import predicted_columns, some_cloud, write_ply
from lift3d.results.lifted_scene import LiftedScene
from lift3d.runs.progress import track
from lift3d.scenes.rotations import opencv_from_opengl

TRANSFORMS, POINTS = "transforms.json", "sparse_pc.ply"
# nerfstudio multiplies every depth by this unless it is told otherwise.
DEPTH_UNIT = 0.001
# Enough to start Gaussians from; more are made while they are trained.
MOST_POINTS = 200_000


def export_nerfstudio(lifted: LiftedScene, out: Path) -> list[str]:
    """Write the folder and return what there is to say.

    Images are lifted pictures if the operator gives pictures, else the photographs, undistorted, at the lifted size.
    """
    names = file_names(lifted.targets)
    frames: list[dict[str, Any]] = []
    is_masked = False
    (out / "masks").mkdir()
    for target in track(lifted.targets, "export"):
        view, name = lifted.view(target), names[target]
        picture, is_valid = image_to_write(lifted, view)
        is_masked |= not is_valid.all()
        frames.append(_camera(view) | _write_view(view, picture, out, name))
        write_share(out / "masks" / f"{name}.png", is_valid)
    if not is_masked:
        # Whoever reads a mask pays for it with every ray.
        frames = [{key: value for key, value in frame.items() if key != "mask_path"} for frame in frames]
        shutil.rmtree(out / "masks")
    cloud = some_cloud(lifted, MOST_POINTS)
    columns = predicted_columns(lifted, cloud, lambda view: image_to_write(lifted, view)[0])
    write_ply(out / POINTS, cloud, columns, [world_words(lifted)])
    document = {"camera_model": "PINHOLE", "depth_unit_scale_factor": DEPTH_UNIT, "label_ignore": UNKNOWN_ID}
    document |= {"ply_file_path": POINTS, "frames": frames}
    (out / TRANSFORMS).write_text(json.dumps(document, indent=1), encoding="utf-8")
    kind = lifted.view(lifted.targets[0]).prediction.kind
    images = "lifted pictures" if kind == "image" else "photographs, undistorted"
    return [f"images/ holds {images}; depth/ is lifted; {len(cloud)} points in {POINTS}", world_words(lifted)]


def _camera(view: LiftedView) -> dict[str, Any]:
    K, size = view.camera.K, view.camera.size
    if float(K[0, 1]) != 0:
        raise CameraError(f"The camera of view '{view.target}' has skew {float(K[0, 1])}; transforms.json takes none.")
    intrinsics = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    return {
        **{key: float(value) for key, value in intrinsics.items()},
        "w": size.width,
        "h": size.height,
        # Turning two axes round is its own inverse.
        "transform_matrix": opencv_from_opengl(view.camera.c2w).tolist(),
        "view": view.target,
    }


def _depth_on_image(view: LiftedView) -> Float[np.ndarray, "height width"]:
    """Return the lifted z-depth of every pixel, that of its cell; NaN where less than half is seen."""
    depth, size = LiftedDepth.of(view), view.camera.size
    z_depth = depth.z_depth.where(depth.coverage >= COVERED, torch.nan)
    uv = cell_centers(size.height, size.width).double().reshape(-1, 2)
    return map_under(z_depth.numpy(), view.camera, [depth.grid], uv).reshape(size.height, size.width)


def _write_view(view: LiftedView, picture: Picture, out: Path, name: str) -> dict[str, str]:
    """Write the files of a view and return them by nerfstudio's keys; ``label_file_path`` is what lift3d reads."""
    files = {
        "file_path": f"images/{name}.png",
        "depth_file_path": f"depth/{name}.npy",
        "mask_path": f"masks/{name}.png",
    }
    is_label = view.prediction.kind == "labels"
    if is_label:
        files["label_file_path"] = f"labels/{name}.png"
    elif view.prediction.kind != "image":
        files["prediction_file_path"] = f"predictions/{name}.npy"
    for path in files.values():
        (out / path).parent.mkdir(exist_ok=True)
    write_picture(out / files["file_path"], picture)
    # 0 is what nerfstudio takes for unknown.
    thousandths = np.nan_to_num(_depth_on_image(view) / DEPTH_UNIT).astype(np.float32)
    np.save(out / files["depth_file_path"], thousandths, allow_pickle=False)
    if is_label:
        write_ids(out / files["label_file_path"], view.prediction.values.numpy())
    elif "prediction_file_path" in files:
        np.save(out / files["prediction_file_path"], view.prediction.values.numpy(), allow_pickle=False)
    return files
