"""Make the picture of docs/how-to/masks.md, of a computed scene: ``python docs/make_masks_picture.py``.

masks.webp: 2D masks of four views, numbered anew in each; the same views with one id per thing.
"""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Int
from PIL import Image

import lift3d
from lift3d.results.colours import Picture, label_picture
from lift3d.results.masks.view_masks import label_maps_of

PICTURE = Path(__file__).parent / "pictures" / "masks.webp"
# Seeds from 9000 on are those that no training saw.
SCENE = "procedural:room?seed=9001&views=24"
OPERATOR, HEIGHT, STORE = "tiny:encoder", 144, "runs/pictures"
# Views of the path, and the level of 2D masks that is drawn.
SHOWN, LEVEL = (2, 8, 14, 20), 2
_INK = 0.45


def main() -> None:
    """Write the picture."""
    lifted = lift3d.lift(SCENE, OPERATOR, store=STORE, image_height=HEIGHT, metrics=("coverage",))
    alone, found = label_maps_of(lifted), lift3d.scene_masks(lifted)
    figure, axes = plt.subplots(2, len(SHOWN), figsize=(11, 4.5), layout="constrained")
    for column, number in enumerate(SHOWN):
        view = lifted.targets[number]
        photograph = lifted.scene.view(view).load(HEIGHT).image.permute(1, 2, 0).numpy()
        for row, labels in enumerate((alone(view)[LEVEL], found.labels(view))):
            axis = axes[row, column]
            axis.imshow(_over(photograph, labels))
            axis.set_xticks([])
            axis.set_yticks([])
    for row, name in enumerate(("2D: every view alone", "merged: one id per thing")):
        axes[row, 0].set_ylabel(name)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).convert("RGB").save(PICTURE, quality=60, method=6)
    print(PICTURE, PICTURE.stat().st_size)


def _over(photograph: Picture, labels: Int[np.ndarray, "height width"]) -> Picture:
    """Return colours of ids over what the photograph has of light and dark."""
    light = photograph.mean(-1, keepdims=True)
    coloured: Picture = label_picture(torch.from_numpy(labels)) * (1 - _INK + _INK * light)
    return coloured


if __name__ == "__main__":
    main()
