"""The contact sheet of one operator in one scene: image | 2D prediction | lifted | difference | coverage."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lift3d.config import Recipe
from lift3d.domain.lifted import LiftedView
from lift3d.domain.scene import Scene
from lift3d.pipeline import filled_features
from lift3d.present.colours import Picture, ScenePca, difference_picture, heat_picture, prediction_picture
from lift3d.scene_lift import RAW2D
from lift3d.scene_products import read_lifted_part
from lift3d.storage.location import Store

COLUMNS = ("image", "2D", "lifted", "difference", "coverage")
MOST_TARGETS = 3
_CELL_INCHES = 2.4


def draw_contact_sheet(scene: Scene, recipe: Recipe, manifest: Mapping[str, Any], operator: str, store: Store) -> bytes:
    """Return the sheet as PNG: a few targets spread over the scene, a row for each lifter.

    Args:
        scene: For the true images.
        recipe: For the image height.
        manifest: The scene's record.
        operator: Operator name.
        store: Where the lifted views lie.
    """
    views = {
        product["lifter"]: {view.target: view for path in product["parts"] for view in read_lifted_part(store, path)}
        for product in manifest["lifted"]
        if product["operator"] == operator and product["parts"]
    }
    plain = views.pop(RAW2D, {})
    names = _spread([name for name in next(iter(views.values()), {}) if not plain or name in plain])
    examples = plain or next(iter(views.values()))
    pca = ScenePca.of([filled_features(view.lifted)[0] for view in examples.values()])
    rows = [
        (f"{name}\n{lifter}", _row_pictures(scene, recipe, name, plain.get(name), found[name], pca))
        for name in names
        for lifter, found in views.items()
        if name in found
    ]
    return _drawn(f"{manifest['scene']} · {operator}", rows)


def _spread(names: Sequence[str]) -> list[str]:
    """Return a few names spread evenly, ends left out: they see least."""
    count = min(MOST_TARGETS, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]


def _row_pictures(
    scene: Scene, recipe: Recipe, name: str, plain: LiftedView | None, lifted: LiftedView, pca: ScenePca
) -> list[Picture | None]:
    coverage = heat_picture(lifted.lifted[0].coverage, (0.0, 1.0))
    picture = prediction_picture(lifted.prediction, pca)
    if plain is None:
        return [None, None, picture, None, coverage]
    image = scene.view(name).load(recipe.image_height).image.permute(1, 2, 0).numpy()
    answer = prediction_picture(plain.prediction, pca)
    return [image, answer, picture, difference_picture(plain.prediction, lifted.prediction), coverage]


def _drawn(title: str, rows: Sequence[tuple[str, Sequence[Picture | None]]]) -> bytes:
    shapes = [picture.shape for _, pictures in rows for picture in pictures if picture is not None]
    aspect = shapes[0][0] / shapes[0][1] if shapes else 1.0
    size = (_CELL_INCHES * len(COLUMNS), max(1.0, _CELL_INCHES * aspect * len(rows) + 0.4))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(max(1, len(rows)), len(COLUMNS), squeeze=False)
    for index, (label, pictures) in enumerate(rows):
        axes[index][0].set_ylabel(label, fontsize=7)
        for column, picture in enumerate(pictures):
            if picture is not None:
                axes[index][column].imshow(np.clip(picture, 0, 1), interpolation="nearest")
    for row in axes:
        for column, one in enumerate(row):
            one.set_xticks([])
            one.set_yticks([])
            if one is axes[0][column]:
                one.set_title(COLUMNS[column], fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
