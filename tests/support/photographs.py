"""Photographs: pictures of a computed scene, with and without cameras, and of nothing in common."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lift3d.domain.scene import Scene
from tests.support.captures import opengl, write_json

_LENS = {"fl_x": (0, 0), "fl_y": (1, 1), "cx": (0, 2), "cy": (1, 2)}


def write_photographs(scene: Scene, folder: Path) -> Path:
    """Write the views of a scene as PNG, named by their ids, and return the folder."""
    folder.mkdir(parents=True)
    for view in scene.views:
        pixels = (view.load().image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        cv2.imwrite(str(folder / f"{view.id}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return folder


def write_posed(scene: Scene, folder: Path, **more: Any) -> Path:
    """Write photographs and a transforms.json as nerfstudio does; return the folder."""
    camera = scene.views[0].camera
    poses = [
        {"file_path": f"images/{view.id}.png", "transform_matrix": opengl(view.camera.c2w.numpy())}
        for view in scene.views
    ]
    lens = {name: camera.K[place].item() for name, place in _LENS.items()}
    content = {**lens, "w": camera.size.width, "h": camera.size.height, "frames": poses, **more}
    write_photographs(scene, folder / "images")
    return write_json(folder / "transforms.json", content).parent


def write_texture(path: Path, seed: int) -> None:
    """Write a picture of coloured squares that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    squares = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(path), np.kron(squares, np.ones((10, 10, 1), np.uint8)))
