"""A row of pictures as a figure: image | 2D prediction | lifted | difference | coverage."""

import io
import warnings

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lift3d.results.picture_rows import COLUMNS, PictureRow

_CELL_INCHES = 2.4


class Sheet(Figure):
    """A figure that notebooks show by itself, whatever backend they have; elsewhere ``savefig`` writes it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # Names may be in any script; what the font lacks is drawn as a box.
            warnings.filterwarnings("ignore", message="Glyph")
            self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def draw_row(title: str, label: str, row: PictureRow) -> Sheet:
    """Return a figure of a labelled row of pictures; what there is none of is left out."""
    # Novel cameras have no true image and no 2D answer.
    shown = {name: picture for name in COLUMNS if (picture := row[name]) is not None}
    height, width = next(iter(shown.values())).shape[:2]
    size = (_CELL_INCHES * len(shown), max(1.0, _CELL_INCHES * height / width + 0.4))
    figure = Sheet(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9, parse_math=False)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    axes[0].set_ylabel(label, fontsize=7, parse_math=False)
    for one, (name, picture) in zip(axes, shown.items(), strict=True):
        one.set(xticks=[], yticks=[])
        one.set_title(name, fontsize=8)
        one.imshow(np.clip(picture, 0, 1), interpolation="nearest")
    return figure
