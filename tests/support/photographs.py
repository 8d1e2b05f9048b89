"""Photographs to ingest: pictures of a computed scene, and of nothing in common."""

from pathlib import Path

import cv2
import numpy as np

from lift3d.domain.scene import Scene


def write_photographs(scene: Scene, folder: Path) -> Path:
    """Write the views of a scene as PNG, named by their ids, and return the folder."""
    folder.mkdir(parents=True)
    for view in scene.views:
        pixels = (view.load().image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        cv2.imwrite(str(folder / f"{view.id}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return folder


def write_texture(path: Path, seed: int) -> None:
    """Write a picture of coloured squares that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    squares = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(path), np.kron(squares, np.ones((10, 10, 1), np.uint8)))
