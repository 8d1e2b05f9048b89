"""What happens when something is chosen, clicked or typed: one state for each browser."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import viser

from lift3d.errors import Lift3dError
from lift3d.operators.open_vocabulary import TextEncoder
from lift3d.results.query.words import can_take_words, embedded, text_encoder
from lift3d.viewer import texts
from lift3d.viewer.choice import Choice, Eye, Filter
from lift3d.viewer.drawing import Drawing, Page, eye_of, first_eye, page_camera
from lift3d.viewer.labels import Labels, found_masks, predicted_labels
from lift3d.viewer.library import Library
from lift3d.viewer.panel import Panel
from lift3d.viewer.picking import pick_picture, pick_point, points_in_box
from lift3d.viewer.picture import kept_points
from lift3d.viewer.raster import RasterPoints
from lift3d.viewer.shown import Shown
from lift3d.viewer.stage import Stage
from lift3d.viewer.viewed_scene import Colouring, ColourMode, Colours, ViewedScene

# Pixels of the picture by which is told what a box holds.
_BOX_HEIGHT = 256
# Points of which a click means one: as many as a window has places to click at.
_PICKED = 200_000


class Session:
    """One browser's look at a store; ``page`` is its client."""

    def __init__(self, page: Page, library: Library, choice: Choice) -> None:
        """Draw what was chosen."""
        self.page, self.library = page, library
        self._lock = threading.RLock()
        self._turns = 0
        self._words, self._encoders = "", dict[str, TextEncoder]()
        self.through = -1
        self.stage: Stage = library.stage(library.nearest(choice.run, choice.scene, choice.operator, choice.lifter))
        self.choice = _fitting(choice, self.stage)
        self.mode = ColourMode(self.choice.is_lifted, self.choice.colouring)
        self.labels: Labels | None = None
        self.hidden: set[int] = set()
        self.drawing = Drawing(page)
        self.panel = Panel(page.gui, self.choice, library.runs)
        self._read()
        self.draw()

    @property
    def viewed(self) -> ViewedScene:
        """What is shown."""
        return self.stage.viewed

    def ask_point(self, point: int | None) -> None:
        """Compare everything with a point of the cloud; None: with nothing."""
        with self.turn():
            self._words = ""
            self._recolour(replace(self.mode, point=point, area=None, texts=None))

    def ask_words(self, words: str) -> None:
        """Look for words; what cannot be looked for is said in the panel."""
        with self.turn():
            name, trusted = self.stage.lifted.operator, self.library.trusted
            try:
                if trouble := can_take_words(name, self.stage.lifted.recipe.plugins, trusted):
                    raise Lift3dError(trouble)
                if name not in self._encoders:
                    self.panel.words_note.content = texts.paragraph("Loading the model that reads words …")
                    self._encoders[name] = text_encoder(name, trusted)
                vectors = embedded(self._encoders[name], words)
                channels = self.viewed.lifted.unit.shape[1]
                if vectors.shape[1] != channels:
                    raise Lift3dError(f"Words have {vectors.shape[1]} channels and features {channels}: no one space.")
            except Lift3dError as error:
                self.panel.words_note.content = texts.trouble(str(error))
                return
            self.panel.words_note.content = ""
            self._words = words.strip()
            self._recolour(replace(self.mode, point=None, area=None, texts=vectors))

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
                self._words = ""
                self._recolour(replace(self.mode, point=None, area=chosen, texts=None))

    def switch(self, is_lifted: bool) -> None:
        """Show lifted answers, or plain 2D ones."""
        with self.turn():
            is_lifted |= self.viewed.plain is None
            self.choice = replace(self.choice, is_lifted=is_lifted)
            if self.labels is not None and self.labels.source == "class":
                found = predicted_labels(self.viewed, is_lifted)
                self.labels = None if found is None else replace(found, names=self.labels.names)
            self._recolour(replace(self.mode, is_lifted=is_lifted))

    def colour(self, colouring: Colouring) -> None:
        """Choose what is shown when nothing is asked; what was asked is forgotten."""
        with self.turn():
            self._words = ""
            self.choice = replace(self.choice, colouring=colouring)
            self._recolour(ColourMode(self.mode.is_lifted, colouring))

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
            self.panel.summary.content = texts.paragraph("Reading …")
            try:
                stage = self.library.stage(chosen)
            except Lift3dError as error:
                self.panel.summary.content = texts.trouble(f"{chosen.title} cannot be shown: {error}")
                return
            is_elsewhere = (chosen.name, chosen.recipe.run_id) != (self.choice.scene, self.choice.run)
            self.stage, self._words, self.through = stage, "", -1
            self.choice = _fitting(replace(self.choice, eye=None if is_elsewhere else self._eye()), stage)
            self.mode = ColourMode(self.choice.is_lifted, self.choice.colouring)
            self._read()
            self.draw()
            if is_elsewhere:
                self.enter(-1)

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
            point = pick_point(some.xyz.T, start, ray, points.wider_of(_PICKED) * some.radius)
            picture = None
            if self.drawing.are_cameras_shown:
                picture = pick_picture(self.viewed.cameras, self.stage.to_page, start, ray)
            if picture is not None and picture[0] != self.through and (point is None or picture[1] < point[1]):
                self.enter(picture[0])
            elif point is not None:
                self.ask_point(int(points.index[point[0]]))

    def enter(self, index: int) -> None:
        """Look through a camera; −1: from outside."""
        with self.turn():
            if index < 0:
                self.drawing.look(first_eye(self.stage.to_page, self.page))
            else:
                self.drawing.look_through(self.viewed, self.stage.to_page, index)
            self.stand_at(index)

    def stand_at(self, index: int) -> None:
        """Say that a camera is looked through; −1: that none is."""
        with self.turn():
            self.through = index
            # Pictures of cameras nearby would stand in the way.
            self.panel.cameras.value = index < 0
            self.drawing.show_cameras(index < 0)
            self.show_photo()
            self._show_through(self.colours)

    def show_photo(self) -> None:
        """Hang the photograph of the camera that is looked through before the eye."""
        self.drawing.show_photo(self.viewed, self.stage.to_page, self.through, float(self.panel.opacity.value))

    def find_masks(self) -> None:
        """Merge the masks of all views, and show them."""
        with self.turn():
            self.panel.legend.content = texts.paragraph("Merging masks, which takes half a minute …")
            try:
                self.labels = found_masks(self.stage.lifted, self.viewed)
            except Lift3dError as error:
                self.panel.legend.content = texts.trouble(str(error))
                return
            self.hidden = set()
            self.panel.show_labels(self.labels, self.hidden)
            if texts.COLOURINGS["things"] not in self.panel.colouring.options:
                self.panel.colouring.options = (*self.panel.colouring.options, texts.COLOURINGS["things"])
            self.panel.colouring.value = texts.COLOURINGS["things"]
            self.colour("things")

    def label(self, hidden: set[int] | None = None, name: tuple[int, str] | None = None) -> None:
        """Hide labels, or call one otherwise."""
        with self.turn():
            if self.labels is not None and name is not None:
                self.labels = self.labels.renamed(*name)
            if hidden is not None:
                self.hidden = hidden
                self.draw_surface()
            self.panel.show_labels(self.labels, self.hidden)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until what came before is done, which stops sending pictures that are out of date already."""
        self._turns += 1
        with self._lock:
            yield
        self.moved()

    def moved(self) -> None:
        """Something that a picture shows has changed; whoever follows takes the place of this."""

    @property
    def colours(self) -> Colours:
        """The colours of now."""
        if self.mode.colouring == "things" and not self.mode.is_asking and self.labels is not None:
            return replace(self.viewed.colours(replace(self.mode, colouring="photo")), points=self.labels.colours)
        return self.viewed.colours(self.mode)

    def draw(self) -> None:
        """Draw everything."""
        colours = self.colours
        self.drawing.show_views(self.viewed, self.stage.to_page, colours, self.stage.keyframes)
        self.draw_surface()
        self._mark()
        self.panel.show_labels(self.labels, self.hidden)
        self.panel.show_mode(self.mode, self._words, colours.limits)
        self._show_through(colours)

    def draw_surface(self) -> None:
        """Draw the points or triangles that are shown now."""
        with self._lock:
            is_shown = self.stage.is_shown(self.choice.shown, self.labels, self.hidden)
            self.shown_points: RasterPoints = kept_points(self.stage.points, is_shown)
            self.surface = Shown(self.stage, self.shown_points, self.colours)
            count = self.surface.draw(self.drawing, self.choice, is_shown, self.panel)
            self.panel.summary.content = texts.summary(self.stage.lifted.name, self.viewed, count)

    def _read(self) -> None:
        """Offer what the scene has."""
        self.labels, self.hidden = predicted_labels(self.viewed, self.choice.is_lifted), set()
        one, scenes = self.stage.lifted, self.library.scenes(self.choice.run)
        of_scene = [other for other in scenes if other.name == one.name]
        of_operator = [other for other in of_scene if other.operator == one.operator]
        choices = [
            [*dict.fromkeys(getattr(other, name) for other in found)]
            for name, found in (("name", scenes), ("operator", of_scene), ("lifter", of_operator))
        ]
        self.panel.show_choice(self.stage, self.choice, choices, self.library.trusted)

    def _recolour(self, mode: ColourMode) -> None:
        turn = self._turns
        has_moved = mode.point != self.mode.point
        self.mode = mode
        colours = self.colours
        self.surface = replace(self.surface, colours=colours)
        if self.choice.shape == "mesh":
            self.draw_surface()
        self.drawing.colour_points(colours.points)
        self.moved()
        if has_moved:
            self._mark()
        self.panel.show_mode(mode, self._words, colours.limits)
        self.drawing.colour_pictures(self.viewed, colours, lambda: turn == self._turns)
        self._show_through(colours)

    def _mark(self) -> None:
        point = self.mode.point
        self.drawing.mark(None if point is None else self.stage.points.xyz[:, point])

    def _show_through(self, colours: Colours) -> None:
        if self.through < 0:
            self.panel.show_through("", None, False)
        else:
            place = self.viewed.slices[self.through]
            picture = self.viewed.picture(colours.pixels, self.through)
            self.panel.show_through(place.target, picture, place.target in self.viewed.photos)

    def _eye(self) -> Eye | None:
        return eye_of(self.page.camera) if isinstance(self.page, viser.ClientHandle) else None


def _fitting(choice: Choice, stage: Stage) -> Choice:
    """Return a choice of what there is."""
    one, viewed = stage.lifted, stage.viewed
    colouring = choice.colouring if choice.colouring in viewed.colourings else viewed.colourings[0]
    is_lifted = choice.is_lifted or viewed.plain is None
    return replace(
        choice,
        run=one.recipe.run_id,
        scene=one.name,
        operator=one.operator,
        lifter=one.lifter,
        colouring=colouring,
        is_lifted=is_lifted,
    )
