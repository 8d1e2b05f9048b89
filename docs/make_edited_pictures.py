"""Make edited.webp and moments.webp, of computed scenes: ``python docs/make_edited_pictures.py``.

Above what an editor of colours makes of each view by chance, below the same lifted: views of one scene, and moments of
one camera of a rig.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import lift3d
from lift3d.bench.systems.generators import edited, written
from lift3d.domain.lifted import LiftedView
from lift3d.results.colours import Picture

PICTURES = Path(__file__).parent / "pictures"
SCENE, VIEWS = "procedural:room?seed=9000&views=24", (1, 8, 15, 22)
RIG, TIMES, MOMENTS, CAMERA = "procedural:room?seed=9000&views=4&times=8&spacing=4", 8, (1, 3, 5, 7), 1
_HEIGHT = 144

Pair = tuple[Picture, Picture]


def main() -> None:
    """Write both pictures."""
    with TemporaryDirectory() as folder:
        written(lift3d.read_scene(SCENE), edited, Path(folder), _HEIGHT)
        lifted = lift3d.lift(SCENE, f"files:{folder}?kind=image", image_height=_HEIGHT, metrics=("coverage",))
        _draw([_pair(lifted, lifted.targets[view]) for view in VIEWS], "edited.webp", "view")
    with TemporaryDirectory() as folder:
        written(lift3d.read_scene(RIG), edited, Path(folder), _HEIGHT)
        pairs = []
        for moment in MOMENTS:
            lifted = lift3d.lift(
                f"moment:{moment}:{RIG}", f"files:{folder}?kind=image", image_height=_HEIGHT, holdout=TIMES,
                target_mode="refine", metrics=("coverage",),
            )  # fmt: skip
            pairs.append(_pair(lifted, lifted.targets[CAMERA]))
        _draw(pairs, "moments.webp", "moment")


def _pair(lifted: lift3d.LiftedScene, target: str) -> Pair:
    plain = lifted.plain(target)
    return _shown(lifted.view(target) if plain is None else plain), _shown(lifted.view(target))


def _shown(view: LiftedView) -> Picture:
    picture: Picture = view.prediction.values.permute(1, 2, 0).numpy().clip(0, 1)
    return picture


def _draw(pairs: list[Pair], name: str, what: str) -> None:
    figure = Figure(figsize=(8.8, 3.5), dpi=58, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(pairs))
    for column, pair in enumerate(pairs):
        for row, picture in enumerate(pair):
            axes[row, column].imshow(picture)
            axes[row, column].set_xticks([])
            axes[row, column].set_yticks([])
    for row, title in enumerate((f"each {what} alone", "lifted")):
        axes[row, 0].set_ylabel(title, fontsize=9)
    figure.savefig(PICTURES / name, pil_kwargs={"quality": 22, "method": 6})
    print(name, (PICTURES / name).stat().st_size)


if __name__ == "__main__":
    main()
