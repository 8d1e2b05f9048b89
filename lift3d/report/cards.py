"""A scene on a wall of scenes: two small pictures, its name, and what is left of disagreement."""

import math
from dataclasses import dataclass, replace

from lift3d.report.gallery import Thumbnail
from lift3d.report.scenes import DrawnOperator, DrawnScene


@dataclass(frozen=True, slots=True)
class Card:
    """A scene that leads to more of it; ``left`` is NaN where there is no figure."""

    name: str
    left: float
    href: str
    pictures: tuple[tuple[str, Thumbnail], ...]

    @property
    def size(self) -> int:
        """Characters that the pictures take in a page."""
        return sum(len(one.url) for _, one in self.pictures)


def card_of(scene: DrawnScene, left: float, href: str, room: int) -> Card:
    """Return the card of a scene: of the operator that is worst, the plain answer and that of its best lifter.

    Photographs that are their own answers are worst if there is no other. Without pictures if these take too much room.
    """
    drawn = [one for one in scene.operators if one.strip and one.strip.views]
    worst = max(drawn, key=_left, default=None)
    pictures = [one for one in worst.strip.views[0][1] if one.name != "photograph"] if worst and worst.strip else []
    best = worst.ranked[0].lifter if worst and worst.answers else ""
    pictures.sort(key=lambda one: (one.name != "2D", one.name != best))
    made = Card(scene.name, left, href, tuple((one.name, one.small) for one in pictures[:2]))
    return made if made.size <= room else replace(made, pictures=())


def _left(operator: DrawnOperator) -> tuple[bool, float]:
    known = [one.left for one in operator.answers if not math.isnan(one.left)]
    return bool(known) and not any(one.is_photograph for one in operator.answers), min(known, default=-1.0)
