"""What pages take for granted: a capture, photographs, a finished run; tiny, in a folder of their own."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from lift3d.config import Execution, parse_recipe
from lift3d.domain.scene import Frame
from lift3d.runs.driver import run_serially
from lift3d.scenes.catalog import read_scene

# In place of what a reader has: big pictures, and networks that must be downloaded.
SMALL = {
    "image_height=192": "image_height=48",
    "timm:vit_small_patch14_dinov2.lvd142m": "timm:resnet18?weights=random",
    "open_clip:ViT-B-16/laion2b_s34b_b88k": "timm:resnet18?weights=random",
    "timm:mobilenetv3_large_100": "timm:resnet18?weights=random",
}
HEIGHT = 48
_ROOM = "procedural:room?views=6&height=48&width=64"
# Large enough for keypoints, close enough for matches.
_PHOTOGRAPHED = "procedural:tabletop?seed=3&views=8&height=240&width=320&spacing=0.7"


def write_capture(folder: Path) -> None:
    """Write a computed room as nerfstudio does: transforms.json and images."""
    scene = read_scene(_ROOM)
    frames = []
    (folder / "images").mkdir(parents=True)
    for view in scene.views:
        name = f"images/{view.id}.png"
        _save(view.load(), folder / name)
        c2w = view.camera.c2w.numpy() @ np.diag([1.0, -1, -1, 1])
        frames.append({"file_path": name, "transform_matrix": c2w.tolist()})
    K = scene.views[0].camera.K
    lens = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    content = {**{name: float(value) for name, value in lens.items()}, "w": 64, "h": 48, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content), encoding="utf-8")


def write_photographs(folder: Path) -> None:
    """Write pictures without cameras."""
    folder.mkdir(parents=True)
    for view in read_scene(_PHOTOGRAPHED).views:
        _save(view.load(), folder / f"{view.id}.jpg")


def write_run(folder: Path) -> None:
    """Write a capture, ``desk``, and a finished run over it, ``desk-run``."""
    write_capture(folder / "desk")
    fields = {"scenes": [str(folder / "desk")], "operators": ["rgb", "hog"], "lifters": ["shared_weights", "lift3d"]}
    recipe = parse_recipe({**fields, "image_height": HEIGHT, "holdout": 2, "target_mode": "heldout"})
    run_serially(recipe, Execution(store=str(folder / "desk-run")))


def furnish(folder: Path, prepared: Path, text: str) -> None:
    """Copy into a page's folder what its text names."""
    for name, source in {
        "my-capture": prepared / "desk",
        "desk": prepared / "desk",
        "desk-run": prepared / "desk-run",
        "runs/demo": prepared / "desk-run",
    }.items():
        if name in text:
            shutil.copytree(source, folder / name)


def _save(frame: Frame, path: Path) -> None:
    pixels = (frame.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(path)
