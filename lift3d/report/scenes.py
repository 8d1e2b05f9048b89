"""Scenes as a report shows them: pictures and a drawing for each operator, and what stands in their way."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import groupby

from rich.markup import escape

from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError, Lift3dError
from lift3d.report.gallery import LifterPictures, lifter_pictures
from lift3d.report.strip import Strip, strip_of
from lift3d.results.evidence.reasons import Reason, reasons_of
from lift3d.results.evidence.same_spots import SameSpots, same_spots
from lift3d.results.evidence.sightings import Sightings, sightings_of
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.scores.answers import Answer, best_first
from lift3d.runs.progress import track

# Characters of all pictures together: with the tables the page stays below 20 MB, which a phone still opens.
PICTURE_BUDGET = 15_000_000
# Small pictures of them, by which they are chosen, have the rest.
_SCENES_SHARE = 0.97
# Nobody looks at more of one lifter; few scenes do not make a large page.
_LIFTER_BUDGET = 1_500_000
# A page that shows more is scrolled past; the table has them all.
_MOST_LIFTERS = 3


@dataclass(frozen=True, slots=True)
class ReportExtent:
    """How much is shown of a run (of the latest, if None): at most so many scenes, and views of each lifter.

    If there are more scenes, so many, the worst first, have a page each, ``page_count``. ``captures``: whether
    photographs are read where the recipe says, though another began the run.
    """

    run_id: str | None = None
    scene_count: int = 8
    view_count: int = 6
    captures: bool = False
    page_count: int = 400

    def __post_init__(self) -> None:
        if self.scene_count < 0 or self.page_count < 0 or self.view_count < 1:
            raise ConfigError(
                f"A report shows 0 or more scenes and pages and 1 or more views of each; got {self.scene_count} "
                f"scenes, {self.page_count} pages and {self.view_count} views."
            )


@dataclass(slots=True)
class DrawnOperator:
    """One operator in one scene, without its hidden lifters; ``trouble`` says why pictures are missing, if they are."""

    operator: str
    hidden: tuple[str, ...]
    answers: tuple[Answer, ...] = ()
    strip: Strip | None = None
    lifters: list[LifterPictures] = field(default_factory=list)
    trouble: str = ""

    @property
    def size(self) -> int:
        """Characters of the pictures."""
        return sum(one.size for one in self.lifters) + (self.strip.size if self.strip else 0)

    @property
    def ranked(self) -> list[Answer]:
        """The answers, the best lifter first."""
        return [one for own in best_first(self.answers) for one in own]


@dataclass(frozen=True, slots=True)
class DrawnScene:
    """One scene as it is shown; ``trouble`` says what of it cannot be read here."""

    name: str
    record: SceneRecord
    trouble: str
    operators: tuple[DrawnOperator, ...]
    reasons: tuple[Reason, ...] = ()

    @property
    def size(self) -> int:
        """Characters of the pictures."""
        return sum(one.size for one in self.operators)


def drawn_scenes(
    chosen: Mapping[str, SceneRecord],
    lifted: Mapping[str, Sequence[LiftedScene]],
    answers: Mapping[str, Sequence[Answer]],
    view_count: int,
) -> list[DrawnScene]:
    """Return the scenes as they are shown, whose pictures share the page's room: what one leaves over, others have."""
    budget, to_come = int(_SCENES_SHARE * PICTURE_BUDGET), len(chosen)
    found = []
    for name, record in chosen.items():
        drawn = drawn_scene(name, record, lifted.get(name, ()), answers.get(name, ()), view_count, budget // to_come)
        budget, to_come = budget - drawn.size, to_come - 1
        found.append(drawn)
    return found


def drawn_scene(
    name: str,
    record: SceneRecord,
    lifted: Sequence[LiftedScene],
    answers: Sequence[Answer],
    view_count: int,
    budget: int,
) -> DrawnScene:
    """Return one scene, whose pictures take at most so many characters; of each lifter so many targets are shown."""
    by_operator = [[*lifters] for _, lifters in groupby(lifted, key=lambda one: one.operator)]
    spots: SameSpots | None = None
    operators: list[DrawnOperator] = []
    to_come = sum(min(_MOST_LIFTERS, len(lifters)) for lifters in by_operator)
    with lifted[0].photographs_kept() if lifted else nullcontext():
        sightings = sightings_of(lifted[-1]) if lifted else None
        for lifters in track(by_operator, f"drawing {escape(name)}"):
            spots = spots or _spots(lifters[-1], sightings)
            count = min(_MOST_LIFTERS, len(lifters))
            drawn = _drawn_operator(lifters, view_count, spots, budget // max(1, to_come) * count)
            drawn.answers = tuple(one for one in answers if one.operator == drawn.operator)
            budget, to_come = budget - drawn.size, to_come - count
            operators.append(drawn)
        place = {own[0].operator: number for number, own in enumerate(best_first(answers))}
        operators.sort(key=lambda one: place.get(one.operator, len(place)))
        return DrawnScene(name, record, _trouble(lifted), tuple(operators), _reasons(lifted, sightings))


def _drawn_operator(
    lifters: Sequence[LiftedScene], view_count: int, spots: SameSpots | None, budget: int
) -> DrawnOperator:
    shown = list(reversed(lifters))[:_MOST_LIFTERS]
    drawn = DrawnOperator(lifters[0].operator, tuple(one.lifter for one in lifters if one not in shown))
    try:
        colours = shown[0].colours
        named = {"lifted" if len(shown) == 1 else one.lifter: one for one in reversed(shown)}
        strip = strip_of(named, {drawn.operator: colours}, spots) if spots else None
        if strip and strip.size <= budget:
            drawn.strip = strip
            budget -= strip.size
        share = min(_LIFTER_BUDGET, budget // len(shown))
        drawn.lifters = [lifter_pictures(one, colours, view_count, share) for one in shown]
    except Lift3dError as error:
        # The table stands without pictures; fsck names everything that is damaged.
        drawn.trouble = f"Pictures are missing: {error}"
    return drawn


def _spots(lifted: LiftedScene, sightings: Sightings | None) -> SameSpots | None:
    """Return what an operator's views share; None if its products are damaged: another one's may be whole."""
    try:
        return same_spots(lifted, sightings)
    except Lift3dError:
        return None


def _reasons(lifted: Sequence[LiftedScene], sightings: Sightings | None) -> tuple[Reason, ...]:
    try:
        return tuple(reasons_of(lifted[-1], sightings)) if lifted else ()
    except Lift3dError:
        # What is damaged is told where its pictures are missing.
        return ()


def _trouble(lifted: Sequence[LiftedScene]) -> str:
    try:
        _ = [one.scene for one in lifted[:1]]
    except Lift3dError as error:
        return f"The scene's own images cannot be read here: {error}"
    return ""
