"""What pages take for granted: a capture, photographs, a finished run; tiny, in a folder of their own."""

import shutil
from pathlib import Path

from lift3d.config import Execution, parse_recipe
from lift3d.runs.driver import run_serially
from lift3d.scenes.catalog import read_scene
from tests.support.photographs import write_posed
from tests.support.runs import ROOM

# In place of what a reader has: big pictures, and networks that must be downloaded.
SMALL = {
    "image_height=192": "image_height=48",
    "timm:vit_small_patch14_dinov2.lvd142m": "timm:resnet18?weights=random",
    "open_clip:ViT-B-16/laion2b_s34b_b88k": "timm:resnet18?weights=random",
    "timm:mobilenetv3_large_100": "timm:resnet18?weights=random",
}
HEIGHT = 48
# Large enough for keypoints, close enough for matches.
PHOTOGRAPHED = "procedural:tabletop?seed=3&views=8&height=240&width=320&spacing=0.7"


def small(text: str) -> str:
    """Put what is small here in place of what a reader has."""
    for own, small_one in SMALL.items():
        text = text.replace(own, small_one)
    return text


def write_run(folder: Path) -> None:
    """Write a capture, ``desk``, and a finished run over it, ``desk-run``."""
    write_posed(read_scene(ROOM), folder / "desk")
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
