"""Pictures of one target in a row, whoever draws them."""

from collections.abc import Sequence

from lift3d.results.colours import Picture

COLUMNS = ("image", "2D", "lifted", "difference", "depth", "coverage", "confidence")

# A picture for each of COLUMNS; None where there is none.
PictureRow = dict[str, Picture | None]


def spread(names: Sequence[str], count: int) -> list[str]:
    """Return a few names spread evenly, ends left out: they see least."""
    count = min(count, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]
