"""What happens when something is chosen, clicked or typed: one state for each browser."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import viser

from lift3d.errors import Lift3dError
from lift3d.viewer import texts
from lift3d.viewer.asking import Words
from lift3d.viewer.choice import Choice, Eye, Filter
from lift3d.viewer.colouring import ColourMode
from lift3d.viewer.eyes import Page, eye_of, first_eye, look, look_through, page_camera
from lift3d.viewer.labels import found_masks, labels_key, predicted_labels
from lift3d.viewer.library import Library
from lift3d.viewer.notice import working_notice
from lift3d.viewer.picking import pick_picture, pick_point, points_in_box
from lift3d.viewer.scenery import Scenery
from lift3d.viewer.unfolding import unfold, unfold_when_read
from lift3d.viewer.viewed_scene import Colouring

# Pixels of the picture by which is told what a box holds.
_BOX_HEIGHT = 256
# Points of which a click means one: as many as a window has places to click at.
_PICKED = 200_000
# An outline of a camera that is larger, as a tangent, is looked through rather than clicked at.
_OUTLINE = 0.03


class Session(Scenery):
    """One browser's look at a store; ``page`` is its client."""

    def __init__(self, page: Page, library: Library, choice: Choice) -> None:
        """Draw what was chosen."""
        super().__init__(page, library, choice)
        self._reader = Words(library.first.trusted)

    def ask_point(self, point: int | None) -> None:
        """Compare everything with a point of the cloud; None: with nothing."""
        with self.turn():
            self.choice = replace(self.choice, words="")
            self.recolour(replace(self.mode, point=point, area=None, texts=None))

    def ask_words(self, words: str) -> None:
        """Look for words; what cannot be looked for is said in the panel."""
        with self.turn():
            try:
                if not self._reader.has(self.stage):
                    with working_notice(self.page, "Loading the model that reads words …"):
                        self._reader.load(self.stage)
                vectors = self._reader.vectors(self.stage, words)
            except Lift3dError as error:
                self.panel.words_note.content = texts.trouble(str(error))
                return
            self.panel.words_note.content = ""
            self.choice = replace(self.choice, words=words.strip())
            self.recolour(replace(self.mode, point=None, area=None, texts=vectors))

    def ask_box(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Compare everything with what is seen in a rectangle of the window, corners from 0 to 1."""
        with self.turn():
            if not isinstance(self.page, viser.ClientHandle):
                return
            camera = page_camera(self.page.camera, _BOX_HEIGHT)
            chosen = points_in_box(self.shown_points, camera, low, high)
            extent = 0.0
            if len(chosen):
                places = self.viewed.cloud.xyz[chosen]
                extent = float((places.amax(0) - places.amin(0)).norm())
            self.panel.box.content = texts.boxed(len(chosen), len(self.viewed.cloud), extent, self.labels, chosen)
            if len(chosen):
                self.choice = replace(self.choice, words="")
                self.recolour(replace(self.mode, point=None, area=chosen, texts=None))

    def switch(self, is_lifted: bool) -> None:
        """Show lifted answers, or plain 2D ones."""
        with self.turn():
            is_lifted |= self.viewed.plain is None
            self.choice = replace(self.choice, is_lifted=is_lifted)
            if self.labels is not None and self.labels.source == "class":
                found = predicted_labels(self.viewed, is_lifted)
                self.labels = None if found is None else replace(found, names=self.labels.names)
            self.recolour(replace(self.mode, is_lifted=is_lifted))
            # Points that have a label now had another one, and labels other points.
            if self.hidden:
                self.draw_surface()
            self.panel.show_labels(self.labels, self.hidden)

    def colour(self, colouring: Colouring) -> None:
        """Choose what is shown when nothing is asked; what was asked is forgotten."""
        with self.turn():
            self.choice = replace(self.choice, colouring=colouring, words="")
            self.recolour(ColourMode(self.mode.is_lifted, colouring))

    def choose(self, scene: str, operator: str, lifter: str, run: str = "") -> None:
        """Read and draw something else of the store; of what it does not have, the first or last it has."""
        with self.turn():
            if run and not self.library.scenes(run):
                table = f"lift3d tables {self.stage.lifted.store.url}"
                self.panel.summary.content = texts.trouble(
                    f"Nothing of run {run} can be shown; its table says why: {table}"
                )
                return
            chosen = self.library.nearest(run or self.choice.run, scene, operator, lifter)
            try:
                stage = self.sight_of(chosen)
            except Lift3dError as error:
                self.panel.summary.content = texts.trouble(f"{chosen.title} cannot be shown: {error}")
                return
            is_elsewhere = (chosen.name, chosen.recipe.run_id) != (self.choice.scene, self.choice.run)
            self.stage, self.through = stage, -1
            self.choice = stage.fitting(replace(self.choice, words="", eye=self._eye()))
            self.mode = ColourMode(self.choice.is_lifted, self.choice.colouring)
            self.read()
            self.draw()
            if is_elsewhere:
                self.enter(-1)
            unfold_when_read(self)

    def filter(self, shown: Filter) -> None:
        """Show only some of the points."""
        with self.turn():
            self.choice = replace(self.choice, shown=shown)
            self.draw_surface()

    def click(self, origin: Sequence[float], direction: Sequence[float]) -> None:
        """Answer a click along a ray of the page: the first picture or point there."""
        with self.turn():
            start, ray = (torch.tensor(tuple(one)) for one in (origin, direction))
            points = self.shown_points
            some = points.first(_PICKED)
            point = pick_point(some.xyz, start, ray, points.wider_of(_PICKED) * some.radius)
            picture = None
            if self.cameras.style != "hidden" and self.cameras.is_shown:
                largest = math.inf if self.cameras.style == "pictures" else _OUTLINE
                picture = pick_picture(self.viewed.cameras, self.stage.to_page, start, ray, largest)
            if picture is not None and picture[0] != self.through and (point is None or picture[1] < point[1]):
                self.enter(picture[0])
            elif point is not None:
                self.ask_point(int(points.index[point[0]]))

    def enter(self, index: int) -> None:
        """Look through a camera; −1: from outside."""
        with self.turn():
            if index < 0:
                look(self.page, first_eye(self.stage.to_page, self.page))
            else:
                look_through(self.page, self.viewed, self.stage.to_page, index)
            self.stand_at(index)

    def stand_at(self, index: int) -> None:
        """Say that a camera is looked through; −1: that none is."""
        with self.turn():
            self.through = index
            # What stands for cameras nearby would be in the way.
            self.cameras.show(index < 0)
            self.show_photo()
            self._show_through()

    def show_photo(self) -> None:
        """Hang the photograph of the camera that is looked through before the eye."""
        self.cameras.show_photo(self.viewed, self.stage.to_page, self.through, float(self.panel.opacity.value))

    def see_all(self) -> None:
        """Show all of what a sketch is shown of, as soon as it has been read; Lift3dError if it cannot be."""
        with self.turn():
            if self.viewed.is_sketch:
                unfold(self, self.stage_of(self.stage.lifted))

    def find_masks(self) -> None:
        """Merge the masks of all views, and show them."""
        with self.turn():
            self.panel.masks.disabled = True
            try:
                self.see_all()
                if not self.stage.things:
                    with working_notice(self.page, "Merging the masks of all views …"):
                        self.stage.things.append(found_masks(self.stage.lifted, self.viewed))
            except Lift3dError as error:
                self.panel.legend.content = texts.trouble(str(error))
                return
            finally:
                self.panel.masks.disabled = False
            self.labels, was_hidden = self.stage.things[-1], self.hidden
            self.remember_labels()
            if was_hidden or self.hidden:
                self.draw_surface()
            self.panel.show_labels(self.labels, self.hidden)
            self.panel.show_colourings(self.stage, "things")
            self.colour("things")

    def label(self, hidden: set[int] | None = None, name: tuple[int, str] | None = None) -> None:
        """Hide labels, or call one otherwise."""
        with self.turn():
            if self.labels is None:
                return
            key = labels_key(self.stage.lifted, self.labels)
            if name is not None:
                label, called = name
                self.labels = self.labels.renamed(label, called)
                # The latest last: of many names the first are forgotten.
                own = f"{key} {label}"
                others = {one: kept for one, kept in self.choice.names.items() if one != own}
                self.choice = replace(self.choice, names={**others, own: self.labels.called(label)})
            if hidden is not None:
                self.hidden = hidden
                kept = {key: " ".join(map(str, sorted(hidden)))} if hidden else {}
                self.choice = replace(self.choice, hidden=kept)
                self.draw_surface()
            self.panel.show_labels(self.labels, self.hidden)

    def _eye(self) -> Eye | None:
        return eye_of(self.page.camera) if isinstance(self.page, viser.ClientHandle) else None
