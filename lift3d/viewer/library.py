"""The runs of a store, and what of them was read: shared by all browsers."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from lift3d.errors import Lift3dError
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.opened import lifted_scenes
from lift3d.runs.own_runs import is_own_run
from lift3d.runs.records import list_runs, read_recipe
from lift3d.viewer.gathering import is_small, sketched_scene, view_scene
from lift3d.viewer.stage import Stage
from lift3d.viewer.transform import ViewerTransform
from lift3d.viewer.viewed_scene import ViewedScene

# Read scenes that are held; each takes some hundred megabytes at most.
_MOST_HELD = 4
_LONGEST_CALLED = 40


class ViewerEnd(Exception):  # noqa: N818 (no error)
    """The viewer ends while a scene is read."""


class Library:
    """What can be looked at.

    Attributes:
        first: What is shown to who has chosen nothing; what it trusts is trusted in other runs, too.
    """

    def __init__(self, first: LiftedScene) -> None:
        """Read nothing yet."""
        self.first = first
        # Photographs of all runs are read only if the user said so, not for a first run that is his own.
        self._reads_captures = first.reads_capture and not is_own_run(first.recipe.run_id)
        # Who looks at a sketch, or at what is held, does not wait for what is being read.
        self._listing, self._sketching, self._reading, self._holding = (threading.Lock() for _ in range(4))
        self._is_over = False
        self._scenes: dict[str, list[LiftedScene]] = {}
        self._called: dict[str, str] = {}
        self._held: OrderedDict[tuple[str, ...], Stage] = OrderedDict()
        self._sketches: dict[tuple[str, ...], Stage] = {}
        # Of each run and scene, so that nothing moves when more of it has been read, or another lifter's.
        self._placed: dict[tuple[str, ...], ViewerTransform] = {}
        # Who waits is told how far reading is.
        self.waiting: list[Callable[[str, float], None]] = []

    @property
    def runs(self) -> dict[str, str]:
        """The runs of the store by what the page calls them, that of the first scene before the others."""
        own = self.first.recipe.run_id
        return {self.called(run): run for run in (own, *(one for one in list_runs(self.first.store) if one != own))}

    def called(self, run: str) -> str:
        """Return what the page calls a run: what it lifted and how, as far as there is room, and its id."""
        if run not in self._called:
            try:
                recipe = read_recipe(self.first.store, run)
                what = f"{', '.join(recipe.operators)} · {', '.join(recipe.lifters)}"
            except Lift3dError:
                what = "cannot be read"
            short = what if len(what) <= _LONGEST_CALLED else f"{what[:_LONGEST_CALLED]}…"
            self._called[run] = f"{short} · {run[:6]}"
        return self._called[run]

    def scenes(self, run: str) -> list[LiftedScene]:
        """Return what a run lifted; of one that cannot be read, or lifted nothing, none."""
        with self._listing:
            if run not in self._scenes:
                try:
                    found = lifted_scenes(self.first.store, run, self._reads_captures, self.first.trusted)
                except Lift3dError:
                    found = []
                self._scenes[run] = found
            return self._scenes[run]

    def nearest(self, run: str, scene: str, operator: str, lifter: str) -> LiftedScene:
        """Return what was chosen; of what a run or scene does not have, the first or last that it has."""
        scenes = self.scenes(run) or self.scenes(self.first.recipe.run_id)
        of_scene = [one for one in scenes if one.name == scene] or [one for one in scenes if one.name == scenes[0].name]
        of_operator = [one for one in of_scene if one.operator == operator] or [
            one for one in of_scene if one.operator == of_scene[0].operator
        ]
        return next((one for one in of_operator if one.lifter == lifter), of_operator[-1])

    def holds(self, one: LiftedScene) -> bool:
        """Whether a scene has been read."""
        return self._found(_key(one)) is not None

    def end(self) -> None:
        """Nobody wants what is being read any more: who reads is told so by ``ViewerEnd``."""
        self._is_over = True

    def sight(self, one: LiftedScene) -> Stage:
        """Return a scene read, or a sketch of it where that is there sooner; Lift3dError if it cannot be read."""
        key = _key(one)
        if self._near(key) is not None or is_small(one):
            return self.stage(one)
        with self._sketching:
            if key not in self._sketches:
                viewed = sketched_scene(one, self.scenes(one.recipe.run_id))
                self._sketches[key] = self._staged(one, viewed)
            return self._found(key) or self._sketches[key]

    def stage(self, one: LiftedScene) -> Stage:
        """Return a scene read; Lift3dError if it cannot be."""
        if (held := self._found(_key(one))) is not None:
            return held
        with self._reading:
            return self._read(one)

    def stage_if(self, is_wanted: Callable[[], bool], one: LiftedScene) -> Stage | None:
        """Return a scene read; None if nobody wants it any more by the time that others have been read."""
        with self._reading:
            return self._read(one) if is_wanted() else None

    def _read(self, one: LiftedScene) -> Stage:
        key = _key(one)
        if (held := self._found(key)) is not None:
            return held
        near, report = self._near(key), partial(self._tell, one.name)
        known = None if near is None else near.viewed
        stage = self._staged(one, view_scene(one, self.scenes(one.recipe.run_id), known, report))
        with self._holding:
            self._held[key] = stage
            self._sketches.pop(key, None)
            while len(self._held) > _MOST_HELD:
                self._held.popitem(last=False)
        return stage

    def _found(self, key: tuple[str, ...]) -> Stage | None:
        with self._holding:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def _near(self, key: tuple[str, ...]) -> Stage | None:
        """Return another operator on the same surface, which has been read with it."""
        with self._holding:
            return next((held for other, held in self._held.items() if other[:3] == key[:3]), None)

    def _staged(self, one: LiftedScene, viewed: ViewedScene) -> Stage:
        scene = _key(one)[:2]
        stage = Stage(one, viewed, self._placed.get(scene))
        if not len(viewed.cloud):
            # Placed by its cameras alone.
            return stage
        placed = self._placed.setdefault(scene, stage.to_page)
        return stage if placed is stage.to_page else Stage(one, viewed, placed)

    def _tell(self, name: str, share: float) -> None:
        if self._is_over:
            raise ViewerEnd
        for told in tuple(self.waiting):
            told(name, share)


def _key(one: LiftedScene) -> tuple[str, ...]:
    return one.recipe.run_id, one.name, one.lifter, one.operator
