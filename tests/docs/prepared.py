"""What pages take for granted: a capture, photographs, a finished run; tiny, in a folder of their own."""

import shutil
from pathlib import Path

from lift3d.config import Execution, parse_recipe
from lift3d.runs.driver import run_serially
from lift3d.scenes.catalog import read_scene
from tests.support.captures import opengl, write_json
from tests.support.photographs import write_photographs

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
PHOTOGRAPHED = "procedural:tabletop?seed=3&views=8&height=240&width=320&spacing=0.7"


def small(text: str) -> str:
    """Put what is small here in place of what a reader has."""
    for own, small_one in SMALL.items():
        text = text.replace(own, small_one)
    return text


def write_capture(folder: Path) -> None:
    """Write a computed room as nerfstudio does: transforms.json and images."""
    scene = read_scene(_ROOM)
    write_photographs(scene, folder / "images")
    poses = [opengl(view.camera.c2w.numpy()) for view in scene.views]
    frames = [
        {"file_path": f"images/{view.id}.png", "transform_matrix": pose}
        for view, pose in zip(scene.views, poses, strict=True)
    ]
    (fx, _, cx), (_, fy, cy), _ = scene.views[0].camera.K.tolist()
    content = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": 64, "h": 48, "frames": frames}
    write_json(folder / "transforms.json", content)


def write_run(folder: Path) -> None:
    """Write a capture, ``desk``, and a finished run over it, ``desk-run``."""
    write_capture(folder / "desk")
    fields = {"scenes": [str(folder / "desk")], "operators": ["rgb", "hog"], "lifters": ["anchored", "lift3d"]}
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
