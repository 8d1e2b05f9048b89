"""Make the picture of docs/how-to/tracks.md, of a computed scene: ``python docs/make_tracks_picture.py [SCENE OUT]``.

tracks.webp: points of a grid over one view, and where they are in three others; hollow where something hides them.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import lift3d

PICTURE = Path(__file__).parent / "pictures" / "tracks.webp"
# Seeds from 9000 on are those that no training saw.
SCENE = "procedural:tabletop?seed=9001&views=24&height=192&width=256"
HEIGHT, STEP, SHARES = 192, 24.0, (0.1, 0.35, 0.6, 0.85)


def main(scene: str = SCENE, out: str = str(PICTURE)) -> None:
    """Lift the scene, follow the points, draw four views."""
    lifted = lift3d.lift(scene, "rgb", store="runs/pictures", image_height=HEIGHT, metrics=("coverage",))
    views = [lifted.targets[int(share * len(lifted.targets))] for share in SHARES]
    tracks = lift3d.scene_tracks(lifted, grids=[(views[0], STEP)], views=views)
    across, down = tracks.query_uv.T / tracks.query_uv.max(0)[:, None]
    colours = colormaps["hsv"](0.85 * across) * np.c_[[0.45 + 0.55 * down] * 3 + [np.ones(len(tracks))]].T
    figure = Figure(figsize=(11, 2.25), dpi=68, layout="constrained")
    FigureCanvasAgg(figure)
    for number, (view, axis) in enumerate(zip(views, figure.subplots(1, 4), strict=True)):
        photograph = lifted.scene.view(view).load(HEIGHT).image.permute(1, 2, 0).numpy()
        height, width = photograph.shape[:2]
        grey = np.repeat(photograph.mean(-1, keepdims=True), 3, axis=-1)
        axis.imshow(0.5 + 0.5 * grey, extent=(0, width, height, 0), vmin=0, vmax=1)
        uv, seen = tracks.uv_in(view), tracks.is_visible[number]
        axis.scatter(*uv[seen].T, s=22, c=colours[seen], linewidths=0)
        axis.scatter(*uv[~seen].T, s=16, facecolors="none", edgecolors=colours[~seen], linewidths=1)
        axis.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
        axis.set_title("asked here" if number == 0 else f"seen: {seen.sum()} of {len(tracks)}", fontsize=9)
    figure.savefig(out, pil_kwargs={"quality": 16, "method": 6})


if __name__ == "__main__":
    main(*sys.argv[1:])
