"""The questions of a scene's things, one after the other, each answered or in doubt."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lift3d.domain.keys import ViewId
from lift3d.results.masks.naming import Naming
from lift3d.results.questions import spatial
from lift3d.results.questions.spatial import Measured
from lift3d.results.questions.templates import choice, length, question, the
from lift3d.results.questions.thing import Shown, Thing

# A view shows a thing well if it shows so much of what the view that shows most of it does.
_WELL = 0.5
# Pieces of one name that are nearer than so many spacings may be one thing.
_TOUCHING = 3.0

_SIZES: Mapping[str, Callable[[Thing], Measured]] = {
    "height": spatial.height,
    "width": spatial.width,
    "longest extent": spatial.longest,
}
_PAIRS: Mapping[str, Callable[[Thing, Thing], Measured]] = {
    "centre distance": spatial.middles,
    "taller": spatial.taller,
    "higher": spatial.higher,
}
LENGTHS = ("distance", "centre distance", *_SIZES)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its answer.

    Attributes:
        kind: One of ``question_templates.QUESTIONS``.
        text: The question.
        names: What it is about.
        ids: The masks of those.
        view: The view that it depends on; empty of most.
        answer: In words.
        value: Of a length or a count; NaN of a relation.
        tolerance: What a length may be off by.
        refused: Why it is in doubt, one of ``question_templates.REFUSED``; empty if it is not.
    """

    kind: str
    text: str
    names: tuple[str, ...]
    ids: tuple[int, ...] = ()
    view: ViewId = ""
    answer: str = ""
    value: float = np.nan
    tolerance: float = np.nan
    refused: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Asker:
    """Puts the questions of one scene.

    Attributes:
        scene: Its name.
        names: Of masks, by id; of those that are asked about.
        called: What tells them apart, where their names do not.
        naming: Who named them, and how surely.
        things: Those of the masks that views show enough of.
        metres: Metres that a unit of the world is; None if nobody knows.
    """

    scene: str
    names: Mapping[int, str]
    called: Mapping[int, str]
    naming: Naming
    things: Mapping[int, Thing]
    metres: float | None

    def questions(self) -> Iterator[Question]:
        """Yield all, each once."""
        seen = set()
        for one in self._all():
            if (one.kind, *one.names) not in seen:
                seen.add((one.kind, *one.names))
                yield one

    def _all(self) -> Iterator[Question]:
        for name in dict.fromkeys(self.names.values()):
            yield self._count(name)
        for name in self.naming.missing:
            yield Question("count", question("count", name, name=f'"{name}"'), (name,), refused="not-found")
        for one in self.things.values():
            for kind, measure in _SIZES.items():
                yield self._asked(kind, (one,), self._upright(measure, one))
        for pair in combinations(self.things.values(), 2):
            if pair[0].name != pair[1].name:
                is_swapped = _number(self.scene, pair[0].name, pair[1].name) % 2
                yield from self._of_pair(*(pair[::-1] if is_swapped else pair))

    def _of_pair(self, a: Thing, b: Thing) -> Iterator[Question]:
        yield self._asked("distance", (a, b), spatial.nearest(a, b))
        for kind, measure in _PAIRS.items():
            yield self._asked(kind, (a, b), self._upright(measure, a, b))
        view, noise = self._view(a, b), a.noise + b.noise
        if view is None:
            found = dict.fromkeys(("left or right", "front or behind", "nearer", "above or below"), _doubt("no-view"))
        else:
            first, second = a.shown[view], b.shown[view]
            found = {
                "left or right": spatial.right_of(first, second, noise),
                "front or behind": spatial.behind(first, second, noise),
                "nearer": spatial.farther(a, b, first.camera.center.numpy()),
                "above or below": self._upright(spatial.above, a, b),
            }
        for kind, measured in found.items():
            yield self._asked(kind, (a, b), measured, view or "")

    def _asked(self, kind: str, about: tuple[Thing, ...], measured: Measured, view: ViewId = "") -> Question:
        names = tuple(one.name for one in about)
        words = dict(zip("ab", map(the, names), strict=False))
        text = question(kind, f"{self.scene} {names} {view}", **words, view=view or "?")
        doubt = next(filter(None, (self._name_doubt(one) for one in about)), measured.doubt)
        ids = tuple(one.id for one in about)
        if kind not in LENGTHS:
            return Question(kind, text, names, ids, view, choice(kind, measured.value, *words.values()), refused=doubt)
        metres = self.metres or np.nan
        value, tolerance = metres * measured.value, metres * measured.tolerance
        doubt = doubt or ("no-scale" if self.metres is None else "")
        said = "" if self.metres is None or np.isnan(value) else length(value)
        return Question(kind, text, names, ids, view, said, value, tolerance, doubt)

    def _count(self, name: str) -> Question:
        own = [number for number, other in self.names.items() if other == name]
        known = [self.things[number] for number in own if number in self.things]
        doubt = "unsure-name" if self.naming.unsure & {*own} else ""
        if any(other == name and one not in own for one, other in self.naming.names.items()):
            doubt = "unsure-mask"
        doubt = "few-points" if len(known) < len(own) else doubt
        if any(spatial.nearest(*pair).value < _TOUCHING * pair[0].spacing for pair in combinations(known, 2)):
            doubt = doubt or "touching"
        text = question("count", name, name=f'"{name}"')
        return Question("count", text, (name,), tuple(own), "", str(len(own)), float(len(own)), refused=doubt)

    def _name_doubt(self, thing: Thing) -> str:
        if thing.id in self.naming.unsure:
            return "unsure-name"
        return "same-name" if Counter(self.called.values())[thing.name] > 1 else ""

    def _upright(self, measure: Callable[..., Measured], *about: Thing) -> Measured:
        return _doubt("no-up") if any(one.up is None for one in about) else measure(*about)

    def _view(self, a: Thing, b: Thing) -> ViewId | None:
        """Return one of the views that show both well, another for other pairs; None if there is none."""
        shown = [view for view in a.shown if view in b.shown and all(_is_well_seen(one, view) for one in (a, b))]
        return shown[_number(self.scene, "view", a.name, b.name) % len(shown)] if shown else None


def _is_well_seen(thing: Thing, view: ViewId) -> bool:
    def share(one: Shown) -> float:
        return float(one.is_seen.sum())

    own = thing.shown[view]
    return share(own) >= _WELL * max(map(share, thing.shown.values())) and bool((own.z_depth > 0).all())


def _doubt(reason: str) -> Measured:
    return Measured(np.nan, np.nan, reason)


def _number(*words: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(words).encode(), digest_size=4).digest(), "little")
