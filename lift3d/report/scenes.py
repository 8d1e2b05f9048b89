"""Scenes as a report shows them: pictures and a drawing for each operator, and what stands in their way."""

from collections.abc import Sequence
from dataclasses import dataclass

from lift3d.config import Recipe
from lift3d.domain.records import RAW2D, SceneRecord
from lift3d.errors import ConfigError, Lift3dError
from lift3d.report.angles import AngleChart, CameraPlaces, angle_chart
from lift3d.report.failures import Failures
from lift3d.report.gallery import LifterPictures, ScenePlace, operator_pictures
from lift3d.report.pictures import Purse
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import Store

# Characters of all pictures together: with the tables the page stays below 20 MB, which a phone still opens.
PICTURE_ROOM = 15_000_000
# Nobody looks at more of one lifter; few scenes do not make a large page.
_LIFTER_ROOM = 1_500_000


@dataclass(frozen=True, slots=True)
class ReportExtent:
    """How much is shown.

    Attributes:
        run_id: Which run; the latest if None.
        scene_count: Scenes that are drawn at most.
        view_count: Views that are drawn of each operator and lifter.
    """

    run_id: str | None = None
    scene_count: int = 8
    view_count: int = 6

    def __post_init__(self) -> None:
        if self.scene_count < 0 or self.view_count < 1:
            raise ConfigError(
                f"A report shows 0 or more scenes and 1 or more views of each; got {self.scene_count} scenes and "
                f"{self.view_count} views."
            )


@dataclass(frozen=True, slots=True)
class DrawnOperator:
    """One operator in one scene.

    Attributes:
        operator: Its name.
        lifters: Pictures, the recipe's last lifter first.
        chart: Agreement over angle; None if nothing is known of it.
        trouble: Why pictures are missing; empty if they are not.
        hidden: Lifters that are not drawn.
    """

    operator: str
    lifters: tuple[LifterPictures, ...]
    chart: AngleChart | None
    trouble: str
    hidden: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DrawnScene:
    """One scene as it is shown."""

    name: str
    record: SceneRecord
    trouble: str
    operators: tuple[DrawnOperator, ...]


def drawn_scenes(
    store: Store, recipe: Recipe, chosen: Sequence[tuple[str, SceneRecord]], failures: Failures, extent: ReportExtent
) -> list[DrawnScene]:
    """Return the scenes as they are shown.

    Args:
        store: Where the lifted views lie.
        recipe: Of the run.
        chosen: Names in the table, and records.
        failures: With the rows of pairs of these scenes.
        extent: How much is shown.
    """
    places = []
    for name, record in chosen:
        scene, trouble = None, ""
        try:
            scene = read_scene(record.location)
        except Lift3dError as error:
            trouble = f"The scene's own images cannot be read here: {error}"
        places.append((name, ScenePlace(store, recipe, record, scene), trouble))
    units = sum(len(place.lifters(operator)) for _, place, _ in places for operator in place.record.operators)
    purse = Purse(PICTURE_ROOM, units, _LIFTER_ROOM)
    return [
        DrawnScene(name, place.record, trouble, _drawn_operators(name, place, failures, extent, purse))
        for name, place, trouble in places
    ]


def _drawn_operators(
    name: str, place: ScenePlace, failures: Failures, extent: ReportExtent, purse: Purse
) -> tuple[DrawnOperator, ...]:
    cameras: CameraPlaces | None = None
    found = []
    for operator in place.record.operators:
        pictures: list[LifterPictures] = []
        chart, trouble = None, ""
        try:
            family, rows = failures.pairs_of(name, operator)
            if rows:
                cameras = cameras or CameraPlaces(place.store, place.record)
                chart = angle_chart(family, rows, cameras)
            pictures = operator_pictures(place, operator, extent.view_count, purse.share())
        except Lift3dError as error:
            # The table stands without pictures; fsck names everything that is damaged.
            trouble = f"Pictures are missing: {error}"
        purse.spend(sum(one.size for one in pictures), len(place.lifters(operator)))
        named = [one.lifter for one in place.record.products if one.operator == operator]
        hidden = tuple(lifter for lifter in named if lifter not in {RAW2D, *place.lifters(operator)})
        found.append(DrawnOperator(operator, tuple(pictures), chart, trouble, hidden))
    return tuple(found)
