"""Make restored.webp, of a computed scene that no training saw: ``python docs/make_restored_picture.py``."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import lift3d

SCENE = "droplets:seed=0&known=1:procedural:room?seed=9000&views=24&height=192&width=256"
PICTURE = Path(__file__).parent / "pictures" / "restored.webp"
_VIEWS = (3, 9, 15, 21)


def main() -> None:
    """Lift the photographs, draw four views as they came and as they are then."""
    lifted = lift3d.lift(SCENE, "rgb", store="runs/pictures", image_height=192)
    figure = Figure(figsize=(11, 4.6), dpi=68, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1)
    above.suptitle("through drops on the lens", fontsize=10)
    below.suptitle("lifted: what is under a drop comes from the other views", fontsize=10)
    for place, came, restored in zip(_VIEWS, above.subplots(1, 4), below.subplots(1, 4), strict=True):
        target = lifted.targets[place]
        came.imshow(lifted.scene.view(target).load(192).image.permute(1, 2, 0).numpy())
        restored.imshow(lifted.prediction(target).transpose(1, 2, 0).clip(0, 1))
        came.axis("off")
        restored.axis("off")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, pil_kwargs={"quality": 50, "method": 6})


if __name__ == "__main__":
    main()
