"""A scene with depth, written into layouts of RGB-D sequences as it is, or with its frame misstated."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from scipy.spatial.transform import Rotation

from lift3d.domain.camera import Camera
from lift3d.domain.scene import Scene
from lift3d.errors import SceneError
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.geometry.rigid import inverse
from lift3d.scenes.pose_conventions import Poses, requaternioned
from lift3d.scenes.rotations import opencv_from_opengl

# World units per number of a depth map.
UNITS = {"TUM": 1 / 5000, "Replica": 1 / 6553.5, "ScanNet": 0.001, "nerfstudio": 0.001}
_SIXTEEN_BITS = 65535
# Seconds between images of a sequence.
_STEP_S = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A view as it is to be written: depth is of its pixels, whatever its camera's pose is said to be."""

    name: str
    camera: Camera
    pixels: UInt8[ndarray, "height width 3"]
    z_depth: Float[ndarray, "height width"]


# What is read of poses that were written so.
POSE_FAULTS: dict[str, Callable[[Poses], Poses]] = {
    "inverse": inverse,
    "OpenGL": opencv_from_opengl,
    "scalar first": lambda c2w: requaternioned(c2w, [3, 0, 1, 2]),
}
DEPTH_FAULTS = {"unit x1000": 1000.0, "unit x0.1": 0.1, "rays": 1.0}
RIGHT = "right"


def taken(scene: Scene, fault: str = RIGHT, height: int | None = None) -> list[Taken]:
    """Return the views of a scene with one fault, or as they are; SceneError if one has no depth."""
    frames = [view.load(height) for view in scene.views]
    c2w = torch.stack([frame.camera.c2w for frame in frames])
    c2w = POSE_FAULTS[fault](c2w) if fault in POSE_FAULTS else c2w
    found = []
    for view, frame, own in zip(scene.views, frames, c2w, strict=True):
        if frame.z_depth is None:
            raise SceneError(f"View '{view.id}' of '{scene.id}' has no depth to be written.", scene=scene.id)
        z_depth, size = frame.z_depth.double() * DEPTH_FAULTS.get(fault, 1.0), frame.camera.size
        if fault == "rays":
            rays = directions_z1(cell_centers(size.height, size.width).double(), frame.camera.K)
            z_depth = z_depth * rays.norm(dim=-1)
        pixels = (frame.image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        camera = replace(frame.camera, w2c=inverse(own))
        found.append(Taken(view.id, camera, pixels, z_depth.nan_to_num(0.0).numpy()))
    return found


def write_tum(folder: Path, views: Sequence[Taken]) -> None:
    """Write lists of timestamps, ``groundtruth.txt`` and the intrinsics."""
    times = [100 + _STEP_S * number for number in range(len(views))]
    rows = []
    for view, time in zip(views, times, strict=True):
        _write(view, folder / f"rgb/{view.name}.png", folder / f"depth/{view.name}.png", UNITS["TUM"])
        c2w = view.camera.c2w.numpy()
        rows.append([time, *c2w[:3, 3], *Rotation.from_matrix(c2w[:3, :3]).as_quat()])
    for kind in ("rgb", "depth"):
        lines = [f"{time:.6f} {kind}/{view.name}" for view, time in zip(views, times, strict=True)]
        (folder / f"{kind}.txt").write_text("\n".join(lines))
    np.savetxt(folder / "groundtruth.txt", rows, header="timestamp tx ty tz qx qy qz qw")
    np.savetxt(folder / "camera-intrinsics.txt", _centred(views[0]))


def write_replica(folder: Path, views: Sequence[Taken]) -> None:
    """Write ``results/`` and ``traj.txt``, and ``cam_params.json`` in the folder above."""
    place = folder / "results"
    for number, view in enumerate(views):
        _write(view, place / f"frame{number:06d}.png", place / f"depth{number:06d}.png", UNITS["Replica"])
    np.savetxt(folder / "traj.txt", [view.camera.c2w.numpy().ravel() for view in views])
    K, size = _centred(views[0]), views[0].camera.size
    lens = {"w": size.width, "h": size.height, "fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    content = json.dumps({"camera": {**lens, "scale": 1 / UNITS["Replica"]}})
    (folder.parent / "cam_params.json").write_text(content)


def write_scannet(folder: Path, views: Sequence[Taken]) -> None:
    """Write ``color/``, ``depth/``, ``pose/`` and ``intrinsic/``."""
    for name in ("pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    for number, view in enumerate(views):
        _write(view, folder / f"color/{number}.png", folder / f"depth/{number}.png", UNITS["ScanNet"])
        np.savetxt(folder / f"pose/{number}.txt", view.camera.c2w.numpy())
    padded = np.eye(4)
    padded[:3, :3] = _centred(views[0])
    for kind in ("color", "depth"):
        np.savetxt(folder / f"intrinsic/intrinsic_{kind}.txt", padded)


def write_nerfstudio(folder: Path, views: Sequence[Taken]) -> None:
    """Write ``transforms.json``, images and depth maps."""
    frames = []
    for view in views:
        image, depth = folder / f"images/{view.name}.png", folder / f"depths/{view.name}.png"
        depth = _write(view, image, depth, UNITS["nerfstudio"])
        names = {"file_path": f"images/{image.name}", "depth_file_path": f"depths/{depth.name}"}
        frames.append({**names, "transform_matrix": opencv_from_opengl(view.camera.c2w).tolist()})
    K, size = views[0].camera.K, views[0].camera.size
    lens = {"w": size.width, "h": size.height, "fl_x": float(K[0, 0]), "fl_y": float(K[1, 1])}
    content = {**lens, "cx": float(K[0, 2]), "cy": float(K[1, 2]), "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))


def _write(view: Taken, image: Path, depth: Path, unit: float) -> Path:
    """Write a picture and its depth, which 16 bits may not hold, and return the file of the depth."""
    for path in (image, depth):
        path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), cv2.cvtColor(view.pixels, cv2.COLOR_RGB2BGR))
    numbers = view.z_depth / unit
    if numbers.max() < _SIXTEEN_BITS:
        cv2.imwrite(str(depth), numbers.round().astype(np.uint16))
        return depth
    depth = depth.with_suffix(".tif")
    cv2.imwrite(str(depth), numbers.astype(np.float32))
    return depth


def _centred(view: Taken) -> Float[ndarray, "3 3"]:
    """Return K as of pixels that are counted from the centre of the first one."""
    K = view.camera.K.numpy().copy()
    K[:2, 2] -= 0.5
    return K


WRITERS: dict[str, Callable[[Path, Sequence[Taken]], None]] = {
    "TUM": write_tum,
    "Replica": write_replica,
    "ScanNet": write_scannet,
    "nerfstudio": write_nerfstudio,
}
