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
        # For what is listed, sketched and read: who looks at a sketch does not wait for what is being read.
        self._listing, self._sketching, self._reading = threading.Lock(), threading.Lock(), threading.Lock()
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
        return _key(one) in self._held

    def sight(self, one: LiftedScene) -> Stage:
        """Return a scene read, or a sketch of it where that is there sooner; Lift3dError if it cannot be read."""
        key = _key(one)
        if any(other[:3] == key[:3] for other in tuple(self._held)) or is_small(one):
            return self.stage(one)
        with self._sketching:
            if key not in self._sketches:
                viewed = sketched_scene(one, self.scenes(one.recipe.run_id))
                self._sketches[key] = self._staged(one, viewed)
            return self._sketches[key]

    def stage(self, one: LiftedScene) -> Stage:
        """Return a scene read; Lift3dError if it cannot be."""
        key = _key(one)
        with self._reading:
            if key not in self._held:
                # Another operator on the same surface has read that.
                near = next((held.viewed for other, held in self._held.items() if other[:3] == key[:3]), None)
                viewed = view_scene(one, self.scenes(one.recipe.run_id), near, partial(self._tell, one.name))
                self._held[key] = self._staged(one, viewed)
                self._sketches.pop(key, None)
                while len(self._held) > _MOST_HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return self._held[key]

    def _staged(self, one: LiftedScene, viewed: ViewedScene) -> Stage:
        scene = _key(one)[:2]
        stage = Stage(one, viewed, self._placed.get(scene))
        self._placed.setdefault(scene, stage.to_page)
        return stage

    def _tell(self, name: str, share: float) -> None:
        for told in tuple(self.waiting):
            told(name, share)


def _key(one: LiftedScene) -> tuple[str, ...]:
    return one.recipe.run_id, one.name, one.lifter, one.operator
