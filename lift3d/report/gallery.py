"""The pictures of one operator in one scene: image | 2D | lifted | difference | coverage, and the camera's path."""

from collections.abc import Sequence
from dataclasses import dataclass

from lift3d.report.thumbnails import Thumbnail, fitting, size_of, thumbnail
from lift3d.results.colours import SceneColours
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.pictures import spread

# Two seconds at the pace of the page: enough to see a flicker, few enough to carry.
FRAMES = 12
# Of the budget: the walk's twelve pairs take about as much as the gallery's rows of five.
_WALK_SHARE = 0.45


@dataclass(frozen=True, slots=True)
class GalleryRow:
    """One target view, with the pictures that there are by column."""

    target: str
    pictures: dict[str, Thumbnail]


@dataclass(frozen=True, slots=True)
class LifterPictures:
    """What is shown of one lifter.

    Attributes:
        lifter: Its name.
        rows: A few targets, spread over the scene.
        steps: Targets that follow each other, with their plain and lifted answers alone.
        target_count: Targets that it lifted.
        left_out: Rows and steps for which the page has no room.
    """

    lifter: str
    rows: tuple[GalleryRow, ...]
    steps: tuple[GalleryRow, ...]
    target_count: int
    left_out: int

    @property
    def size(self) -> int:
        """Characters of the pictures."""
        return sum(size_of(row.pictures.values()) for row in (*self.rows, *self.steps))

    @property
    def has_plain(self) -> bool:
        """Whether there is a 2D answer to compare with; novel cameras have none."""
        return any("2D" in step.pictures for step in self.steps)


def lifter_pictures(lifted: LiftedScene, colours: SceneColours, view_count: int, budget: int) -> LifterPictures:
    """Return the pictures of a lifter, read one stored part after the other.

    Args:
        lifted: Scene, operator and lifter.
        colours: Those of all lifters of the operator.
        view_count: Targets in the gallery.
        budget: Characters that the pictures may take.

    Raises:
        Lift3dError: If a product is missing or damaged.
    """
    targets = lifted.compared
    chosen, walk = spread(targets, view_count), _middle(targets)
    drawn = {
        target: {name: thumbnail(one) for name, one in lifted.pictures(target, colours).items() if one is not None}
        for target in targets
        if target in {*chosen, *walk}
    }
    steps = [
        GalleryRow(target, {name: one for name, one in drawn[target].items() if name in ("2D", "lifted")})
        for target in walk
    ]
    rows = [GalleryRow(target, drawn[target]) for target in chosen]
    shown_steps = steps[: fitting([[*step.pictures.values()] for step in steps], int(_WALK_SHARE * budget))]
    left = budget - sum(size_of(step.pictures.values()) for step in shown_steps)
    shown_rows = rows[: fitting([[*row.pictures.values()] for row in rows], left)]
    left_out = len(steps) + len(rows) - len(shown_steps) - len(shown_rows)
    return LifterPictures(lifted.lifter, tuple(shown_rows), tuple(shown_steps), len(targets), left_out)


def _middle(targets: Sequence[str]) -> Sequence[str]:
    """Return targets that follow each other: between neighbours, what changes without cause is seen."""
    start = max(0, (len(targets) - FRAMES) // 2)
    return targets[start : start + FRAMES]
