"""Questions of where things are, with answers that were measured on the surface: ``lift3d.scene_questions``."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lift3d.domain.keys import ViewId
from lift3d.errors import ConfigError, Lift3dError, NoOverlapError, UnknownNameError
from lift3d.results.exports.files import check_free
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.masks.naming import IGNORED, Names, Naming, named
from lift3d.results.masks.scene_masks import SceneMasks, scene_masks
from lift3d.results.questions.asking import LENGTHS, Asker, Question
from lift3d.results.questions.templates import REFUSED
from lift3d.results.questions.thing import Thing, Vector
from lift3d.results.questions.things import things_of, up_of
from lift3d.storage.location import Store
from lift3d.storage.whole_file import whole
from lift3d.tables.rendering import text_table, to_markdown
from lift3d.tables.schema import DataFrame

_SUFFIXES = (".parquet", ".jsonl")
# Masks that views agree on less are no things: the pieces that are left over.
_CONFIDENT = 0.3
# Forty things are 780 pairs.
MOST_THINGS = 40


@dataclass(frozen=True, eq=False)
class SceneQuestions:
    """The questions of a scene, refused ones among them.

    Attributes:
        masks: What they are about.
        naming: What masks are called, and by whom.
        things: Those that were asked about.
        questions: All, in an order that is always the same.
    """

    masks: SceneMasks
    naming: Naming
    things: tuple[Thing, ...]
    questions: tuple[Question, ...]

    def to_pandas(self) -> DataFrame:
        """Return a row per question; ``answer`` and ``value`` are missing where it is refused, and ``why`` says so."""
        lifted, things = self.masks.lifted, {one.id: one for one in self.things}
        shared = {
            "scene": lifted.name,
            "operator": lifted.operator,
            "run": lifted.recipe.run_id,
            "geometry": self.masks.surface.method,
            "named_by": self.naming.source,
        }
        rows = []
        for one in self.questions:
            is_asked, own = not one.refused, [things[number] for number in one.ids if number in things]
            rows.append(
                {
                    "question": one.text,
                    "kind": one.kind,
                    "answer": one.answer if is_asked else None,
                    "value": one.value if is_asked else np.nan,
                    "unit": "m" if one.kind in LENGTHS and is_asked else "",
                    "tolerance": one.tolerance if is_asked else np.nan,
                    "view": one.view,
                    "names": [*one.names],
                    "masks": [*one.ids],
                    "points": [len(thing.xyz) for thing in own],
                    "views": [len(thing.shown) for thing in own],
                    "refused": one.refused,
                    "why": REFUSED.get(one.refused, ""),
                    **shared,
                }
            )
        return DataFrame(rows)

    def write(self, out: Path | str) -> None:
        """Write the table, .parquet or .jsonl, a question a line; ConfigError of another name, or one that is taken."""
        path = Path(out)
        check_name(path)
        table = self.to_pandas()
        try:
            with whole(path) as partial:
                if path.suffix.lower() == ".parquet":
                    table.to_parquet(partial, index=False)
                else:
                    records = table.astype(object).where(table.notna(), None).to_dict("records")
                    lines = (json.dumps(one, ensure_ascii=False, allow_nan=False) + "\n" for one in records)
                    partial.write_text("".join(lines), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"'{out}' cannot be written: {error}. Give a name in a folder that takes it.") from error

    def summary(self) -> str:
        """Return how many questions of each kind are asked and refused, and why."""
        asked = Counter(one.kind for one in self.questions if not one.refused)
        refused = Counter(one.kind for one in self.questions if one.refused)
        kinds = list(dict.fromkeys(one.kind for one in self.questions))
        lines = [[kind, str(asked[kind]), str(refused[kind])] for kind in kinds]
        lines.append(["all", str(asked.total()), str(refused.total())])
        reasons = Counter(one.refused for one in self.questions if one.refused).most_common()
        said = [f"refused {count:5d}  {reason}: {REFUSED[reason]}" for reason, count in reasons]
        title = f"{self.masks.lifted.title}: {len(self.things)} things of {len(self.masks)} masks"
        table = to_markdown(text_table(("kind", "asked", "refused"), lines))
        return "\n".join([f"{title}, named by {self.naming.source}", "", table, "", *said])


def scene_questions(
    masks: SceneMasks | LiftedScene | Store | str | Path,
    scene: str | None = None,
    operator: str | None = None,
    *,
    names: Names = None,
    ignored: Sequence[str] = IGNORED,
    numbered: bool = False,
    views: Sequence[ViewId] | None = None,
    metres_per_unit: float | None = None,
    up: Sequence[float] | None = None,
    most_things: int = MOST_THINGS,
    run_id: str | None = None,
    captures: bool = False,
) -> SceneQuestions:
    """Ask about sizes, distances, order and relations of a scene's things, and answer by measuring its surface.

    What is in doubt is refused, with its reason: names that several things share, extents that overlap, numbers whose
    tolerance is more than a tenth, lengths of a scene whose unit nobody knows.

    Args:
        masks: Masks of the things (``lift3d.scene_masks``), or what to make them of.
        scene: Of a store: name in the run's table.
        operator: Of a store: what gives masks; the first of the recipe if None.
        names: What masks are called: by id; or words, each mask having that which its features are most like; or the
            segmentation operator of the run, or ``capture``, whose labels most of a mask has. Numbered if None.
        ignored: Names of what is not asked about.
        numbered: Whether things of one name are told apart by the number of their mask ("chair 7"), for those who see
            the masks, too; else what is asked about them is refused.
        views: What may be asked from; all if None.
        metres_per_unit: Metres that a unit of the scene's world is; 1 if None and the capture says so.
        up: Where up is, world coordinates; told by the cameras if None.
        most_things: The largest so many masks that have names.
        run_id: Of a store: the run; the latest if None.
        captures: Of a store: whether photographs are read, though another began the run.

    Raises:
        NoOverlapError: If there is no mask that has a name.
        UnknownNameError: If there is no such view or segmentation.
        ConfigError: If masks, words, a direction or a scale are none.

    Example:
        >>> found = lift3d.scene_questions("things", names=("purple ball", "green box"))
        >>> found.to_pandas().query("refused == ''")[["question", "answer"]]
    """
    if not isinstance(masks, SceneMasks):
        masks = scene_masks(masks, scene, operator, run_id=run_id, captures=captures)
    known, lifted = masks.views, masks.lifted
    check_views(lifted, views or ())
    if metres_per_unit is not None and not (np.isfinite(metres_per_unit) and metres_per_unit > 0):
        raise ConfigError(f"A unit of the world is a number of metres, more than 0; got {metres_per_unit}.")
    naming = named(masks, names, ignored)
    if not naming.names:
        raise NoOverlapError(
            f"None of the {len(masks)} masks of '{lifted.name}' has a name that is asked about ({naming.source}); "
            "expected words for what is there, or no names, which numbers the masks."
        )
    above = up_of([one.camera for one in masks.surface.views]) if up is None else _unit(up)
    sure = {one: name for one, name in sorted(naming.names.items()) if float(masks.confidence[one]) >= _CONFIDENT}
    kept = dict([*sure.items()][:most_things])
    shared = Counter(kept.values())
    called = {one: f"{name} {one}" if numbered and shared[name] > 1 else name for one, name in kept.items()}
    things = things_of(masks, called, tuple(views or known), above)
    scale = _metres_per_unit(lifted) if metres_per_unit is None else metres_per_unit
    asker = Asker(lifted.name, kept, called, naming, {one.id: one for one in things}, scale)
    return SceneQuestions(masks, naming, tuple(things), tuple(asker.questions()))


def check_views(lifted: LiftedScene, views: Sequence[ViewId]) -> None:
    """Refuse views that there are none of, before masks are made; UnknownNameError."""
    for view in views:
        if view not in lifted.compared:
            raise UnknownNameError.of("view", view, lifted.compared)


def check_name(out: Path) -> None:
    """Refuse a name that means no form, or that is taken, before anything is computed."""
    if out.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"'{out}' is no name for questions; expected one that ends in {' or '.join(_SUFFIXES)}.")
    check_free(out)


def _unit(up: Sequence[float]) -> Vector:
    given = np.asarray(up, dtype=np.float64)
    if given.shape != (3,) or not np.isfinite(given).all() or not given.any():
        raise ConfigError(f"Up is a direction of three numbers that are not all 0; got {up}.")
    unit: Vector = given / np.linalg.norm(given)
    return unit


def _metres_per_unit(lifted: LiftedScene) -> float | None:
    """Return 1 if the capture says that its unit is the metre; None if it does not, or may not be read."""
    try:
        return 1.0 if lifted.scene.is_metric else None
    except Lift3dError:
        return None
