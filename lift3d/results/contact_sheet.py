"""The contact sheet of one operator in one scene: a few targets, a row of pictures for each lifter."""

from collections.abc import Sequence

from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.pictures import COLUMNS, PictureRow, draw_rows, spread

MOST_TARGETS = 3


def draw_contact_sheet(lifters: Sequence[LiftedScene]) -> bytes:
    """Return the sheet as PNG; all lifters in the colours of one.

    Memory is that of two stored parts and of what is drawn.

    Args:
        lifters: One operator in one scene under each of its lifters.
    """
    first = lifters[0]
    names = spread(first.compared, MOST_TARGETS)
    photographs = {name: first.image(name) for name in names}
    rows: list[tuple[int, str, PictureRow]] = []
    for lifted in lifters:
        for place, name in enumerate(names):
            if name in lifted.targets:
                row = lifted.pictures(name, first.colours, COLUMNS[1:]) | {"image": photographs[name]}
                rows.append((place, f"{name}\n{lifted.lifter}", row))
    # One lifter after the other is read; on the sheet they stand below each other for each target.
    ordered = [(label, row) for _, label, row in sorted(rows, key=lambda row: row[0])]
    return draw_rows(f"{first.name} · {first.operator}", ordered)._repr_png_()
