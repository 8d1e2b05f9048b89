"""The contact sheet of one operator in one scene: image | 2D prediction | lifted | difference | coverage."""

import io
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lift3d.config import Recipe
from lift3d.domain.features import FeatureMap
from lift3d.domain.lifted import LiftedView
from lift3d.domain.records import RAW2D, SceneRecord
from lift3d.domain.scene import Scene
from lift3d.pipeline.decode import filled_features
from lift3d.pipeline.products import read_lifted_part
from lift3d.results.colours import Picture, ScenePca, difference_picture, heat_picture, prediction_picture
from lift3d.storage.location import Store
from lift3d.storage.products import open_product

COLUMNS = ("image", "2D", "lifted", "difference", "coverage")
MOST_TARGETS = 3
_CELL_INCHES = 2.4


def draw_contact_sheet(scene: Scene, recipe: Recipe, record: SceneRecord, operator: str, store: Store) -> bytes:
    """Return the sheet as PNG: a few targets spread over the scene, a row for each lifter.

    Memory is that of one stored part of the targets and of what is drawn.

    Args:
        scene: For the true images.
        recipe: For the image height.
        record: The scene's record.
        operator: Operator name.
        store: Where the lifted views lie.
    """
    products = {one.lifter: one.parts for one in record.products if one.operator == operator}
    targets = {lifter: _targets_of(store, parts) for lifter, parts in products.items()}
    plain_targets = targets.pop(RAW2D, [])
    lifted_targets = next(iter(targets.values()), [])
    names = _spread([name for name in lifted_targets if not plain_targets or name in plain_targets])
    if not names:
        return _drawn(f"{record.scene} · {operator}: nothing was lifted", [])
    views = {lifter: _read_targets(store, parts, names) for lifter, parts in products.items()}
    plain = views.pop(RAW2D, {})
    pca = ScenePca.of(_examples(store, next(iter(products.values()))), len(plain_targets or lifted_targets))
    rows = [
        (f"{name}\n{lifter}", _row_pictures(scene, recipe, name, plain.get(name), found[name], pca))
        for name in names
        for lifter, found in views.items()
        if name in found
    ]
    return _drawn(f"{record.scene} · {operator}", rows)


def _targets_of(store: Store, parts: Sequence[str]) -> list[str]:
    """Return the targets that have a lifted view."""
    return [view["id"] for path in parts for view in open_product(store, path).attrs["views"]]


def _read_targets(store: Store, parts: Sequence[str], names: Sequence[str]) -> dict[str, LiftedView]:
    """Return the lifted views of a few targets."""
    return {view.target: view for path in parts for view in read_lifted_part(store, path) if view.target in names}


def _examples(store: Store, parts: Sequence[str]) -> Iterator[FeatureMap]:
    """Yield the features of the first cut of all targets, holes closed, one part in memory at a time."""
    for path in parts:
        for view in read_lifted_part(store, path):
            yield filled_features(view.lifted)[0]


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


class Sheet(Figure):
    """A figure that notebooks show by itself, whatever backend they have; elsewhere ``savefig`` writes it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # Names may be in any script; what the font lacks is drawn as a box.
            warnings.filterwarnings("ignore", message="Glyph")
            self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def draw_rows(title: str, rows: Sequence[tuple[str, Sequence[Picture | None]]]) -> Sheet:
    """Return a figure of labelled rows of pictures, one under each of COLUMNS; columns without any are left out."""
    shapes = [picture.shape for _, pictures in rows for picture in pictures if picture is not None]
    aspect = shapes[0][0] / shapes[0][1] if shapes else 1.0
    # Novel cameras have no true image and no 2D answer.
    shown = [index for index in range(len(COLUMNS)) if any(pictures[index] is not None for _, pictures in rows)] or [0]
    size = (_CELL_INCHES * len(shown), max(1.0, _CELL_INCHES * aspect * len(rows) + 0.4))
    figure = Sheet(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9, parse_math=False)
    axes = figure.subplots(max(1, len(rows)), len(shown), squeeze=False)
    for index, (label, pictures) in enumerate(rows):
        axes[index][0].set_ylabel(label, fontsize=7, parse_math=False)
        for column, picture in enumerate(pictures[each] for each in shown):
            if picture is not None:
                axes[index][column].imshow(np.clip(picture, 0, 1), interpolation="nearest")
    for row in axes:
        for column, one in enumerate(row):
            one.set_xticks([])
            one.set_yticks([])
            if one is axes[0][column]:
                one.set_title(COLUMNS[shown[column]], fontsize=8)
    return figure


def _drawn(title: str, rows: Sequence[tuple[str, Sequence[Picture | None]]]) -> bytes:
    return draw_rows(title, rows)._repr_png_()
