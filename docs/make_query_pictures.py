"""Make query.webp, of a computed scene that no training saw: ``python docs/make_query_pictures.py``.

Four views; photographs, what words find on each view's own 2D features, and what they find on the points of the scene.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import lift3d
from lift3d.domain.lifted import LiftedView
from lift3d.operators.open_vocabulary import EVEN
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.query.likeness import relevance
from lift3d.results.query.words import embedded, text_encoder

SCENE, WORDS = "procedural:objects?seed=9001&views=25&height=240&width=320", "purple ball"
PICTURE = Path(__file__).parent / "pictures" / "query.webp"
_VIEWS = (2, 9, 16, 23)


def main() -> None:
    """Lift the scene, ask, draw."""
    lifted = lift3d.lift(SCENE, "tiny:clip", store="runs/pictures", image_height=120, sources=24)
    found = lifted.ask().words(WORDS)
    rows = {"photograph": [], f"2D: '{WORDS}' in every view alone": [], f"points: '{WORDS}' once, seen from here": []}
    for place in _VIEWS:
        target = lifted.targets[place]
        view, plain = lifted.view(target), lifted.plain(target)
        photograph = lifted.scene.view(target).load(240).image.permute(1, 2, 0).numpy()
        on_points = found.seen_from(view)
        maps = (_per_view(lifted, plain or view), on_points)
        thresholds = (EVEN, found.threshold)
        pictures = [photograph, *(_marked(photograph, one, at) for one, at in zip(maps, thresholds, strict=True))]
        for row, picture in zip(rows.values(), pictures, strict=True):
            row.append(picture)
    figure = Figure(figsize=(11, 6.6), dpi=68, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, pictures) in zip(figure.subfigures(3, 1), rows.items(), strict=True):
        axes.suptitle(title, fontsize=10)
        for own, picture in zip(axes.subplots(1, 4), pictures, strict=True):
            own.imshow(picture)
            own.axis("off")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, pil_kwargs={"quality": 50, "method": 6})


def _per_view(lifted: LiftedScene, view: LiftedView) -> np.ndarray:
    features = view.lifted[0].features
    unit = torch.nn.functional.normalize(features.values.flatten(1).T.float(), dim=1).half()
    return relevance(unit, embedded(text_encoder(lifted.operator), WORDS)).numpy().reshape(features.grid.shape)


def _marked(photograph: np.ndarray, likeness: np.ndarray, threshold: float) -> np.ndarray:
    """Return a photograph in grey where nothing was found, orange where something was."""
    rows, cols = photograph.shape[:2]
    at = np.ix_(np.arange(rows) * likeness.shape[0] // rows, np.arange(cols) * likeness.shape[1] // cols)
    is_found = (np.nan_to_num(likeness) > threshold)[at][..., None]
    grey = photograph.mean(2, keepdims=True).repeat(3, 2) * 0.6 + 0.2
    return np.where(is_found, 0.35 * photograph + 0.65 * np.array([1.0, 0.35, 0.1]), grey)


if __name__ == "__main__":
    main()
