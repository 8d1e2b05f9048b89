"""Rows of pictures as a figure: image | 2D prediction | lifted | difference | coverage."""

import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lift3d.results.colours import Picture

COLUMNS = ("image", "2D", "lifted", "difference", "coverage")
_CELL_INCHES = 2.4

# A picture for each of COLUMNS; None where there is none.
PictureRow = dict[str, Picture | None]


class Sheet(Figure):
    """A figure that notebooks show by itself, whatever backend they have; elsewhere ``savefig`` writes it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # Names may be in any script; what the font lacks is drawn as a box.
            warnings.filterwarnings("ignore", message="Glyph")
            self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def draw_rows(title: str, rows: Sequence[tuple[str, PictureRow]]) -> Sheet:
    """Return a figure of labelled rows of pictures; columns without any are left out."""
    # Novel cameras have no true image and no 2D answer.
    shown = [name for name in COLUMNS if any(row[name] is not None for _, row in rows)] or ["image"]
    shapes = [picture.shape for _, row in rows for picture in row.values() if picture is not None]
    aspect = shapes[0][0] / shapes[0][1] if shapes else 1.0
    size = (_CELL_INCHES * len(shown), max(1.0, _CELL_INCHES * aspect * len(rows) + 0.4))
    figure = Sheet(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9, parse_math=False)
    axes = figure.subplots(max(1, len(rows)), len(shown), squeeze=False)
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
    for column, name in enumerate(shown):
        axes[0][column].set_title(name, fontsize=8)
    for index, (label, row) in enumerate(rows):
        axes[index][0].set_ylabel(label, fontsize=7, parse_math=False)
        for column, picture in enumerate(row[name] for name in shown):
            if picture is not None:
                axes[index][column].imshow(np.clip(picture, 0, 1), interpolation="nearest")
    return figure


def spread(names: Sequence[str], count: int) -> list[str]:
    """Return a few names spread evenly, ends left out: they see least."""
    count = min(count, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]
