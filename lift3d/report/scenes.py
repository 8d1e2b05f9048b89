"""Scenes as a report shows them: pictures and a drawing for each operator, and what stands in their way."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from lift3d.domain.records import SceneRecord
from lift3d.errors import ConfigError, Lift3dError
from lift3d.report.gallery import LifterGallery, LifterPictures
from lift3d.results.lifted_scene import LiftedScene

# Characters of all pictures together: with the tables the page stays below 20 MB, which a phone still opens.
PICTURE_BUDGET = 15_000_000
# Nobody looks at more of one lifter; few scenes do not make a large page.
_LIFTER_BUDGET = 1_500_000
# A page that shows more is scrolled past; the table has them all.
_MOST_LIFTERS = 3


@dataclass(frozen=True, slots=True)
class ReportExtent:
    """How much is shown of a run (of the latest, if None): at most so many scenes, and views of each lifter.

    ``captures``: whether photographs are read where the recipe says, though another began the run.
    """

    run_id: str | None = None
    scene_count: int = 8
    view_count: int = 6
    captures: bool = False

    def __post_init__(self) -> None:
        if self.scene_count < 0 or self.view_count < 1:
            raise ConfigError(
                f"A report shows 0 or more scenes and 1 or more views of each; got {self.scene_count} scenes and "
                f"{self.view_count} views."
            )


@dataclass(slots=True)
class DrawnOperator:
    """One operator in one scene, without its hidden lifters; ``trouble`` says why pictures are missing, if they are."""

    operator: str
    hidden: tuple[str, ...]
    lifters: list[LifterPictures] = field(default_factory=list)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class DrawnScene:
    """One scene as it is shown; ``trouble`` says what of it cannot be read here."""

    name: str
    record: SceneRecord
    trouble: str
    operators: tuple[DrawnOperator, ...]


def drawn_scenes(chosen: Mapping[str, SceneRecord], lifted: Iterable[LiftedScene], view_count: int) -> list[DrawnScene]:
    """Return the scenes as they are shown, whose pictures share the page's room: what one leaves over, others have.

    Lifters of an operator come one after the other; of each, ``view_count`` targets are shown.
    """
    by_operator = [[*lifters] for _, lifters in groupby(lifted, key=lambda one: (one.name, one.operator))]
    budget, to_come = PICTURE_BUDGET, sum(min(_MOST_LIFTERS, len(lifters)) for lifters in by_operator)
    found = []
    for name, record in chosen.items():
        own = [lifters for lifters in by_operator if lifters[0].name == name]
        gallery, operators = LifterGallery(view_count), []
        for lifters in own:
            drawn = _drawn_operator(lifters, gallery, min(_LIFTER_BUDGET, budget // max(1, to_come)))
            budget -= sum(one.size for one in drawn.lifters)
            to_come -= min(_MOST_LIFTERS, len(lifters))
            operators.append(drawn)
        found.append(DrawnScene(name, record, _trouble(own), tuple(operators)))
    return found


def _drawn_operator(lifters: Sequence[LiftedScene], gallery: LifterGallery, budget: int) -> DrawnOperator:
    shown = list(reversed(lifters))[:_MOST_LIFTERS]
    drawn = DrawnOperator(lifters[0].operator, tuple(one.lifter for one in lifters if one not in shown))
    try:
        colours = shown[0].colours
        drawn.lifters = [gallery.of(one, colours, budget) for one in shown]
    except Lift3dError as error:
        # The table stands without pictures; fsck names everything that is damaged.
        drawn.trouble = f"Pictures are missing: {error}"
    return drawn


def _trouble(lifted: Sequence[Sequence[LiftedScene]]) -> str:
    try:
        _ = [lifters[0].scene for lifters in lifted[:1]]
    except Lift3dError as error:
        return f"The scene's own images cannot be read here: {error}"
    return ""
