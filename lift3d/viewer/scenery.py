"""What one browser sees: a scene in some colours, the panel beside it, and what of both is drawn again by a change."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from lift3d.errors import Lift3dError
from lift3d.results.lifted_scene import LiftedScene
from lift3d.viewer import texts
from lift3d.viewer.cameras import Cameras
from lift3d.viewer.choice import CameraStyle, Choice, Eye
from lift3d.viewer.colouring import ColourMode, Colours, colours_of
from lift3d.viewer.drawing import Drawing
from lift3d.viewer.eyes import Page
from lift3d.viewer.labels import Labels, labels_key, predicted_labels
from lift3d.viewer.library import Library
from lift3d.viewer.mesh import FINE, PageMesh
from lift3d.viewer.notice import working_notice
from lift3d.viewer.panel import NOTHING, Panel
from lift3d.viewer.picture import kept_points
from lift3d.viewer.raster import RasterPoints
from lift3d.viewer.shown import Shown
from lift3d.viewer.stage import Stage
from lift3d.viewer.viewed_scene import ViewedScene


class Scenery:
    """What one browser sees of a store; ``page`` is its client."""

    def __init__(self, page: Page, library: Library, choice: Choice) -> None:
        """Draw what was chosen."""
        self.page, self.library = page, library
        self._lock = threading.RLock()
        # Of turns within turns the outermost colours, at its end, the pictures at cameras that are out of date.
        self._turns, self._depth, self._is_behind = 0, 0, False
        self.through = -1
        # Whether nobody looks any more.
        self.is_over = False
        # Of which finer triangles were asked for.
        self._refined: Stage | None = None
        self.stage: Stage = library.sight(library.nearest(choice.run, choice.scene, choice.operator, choice.lifter))
        self.choice = self.stage.fitting(choice)
        self.mode = ColourMode(self.choice.is_lifted, self.choice.colouring)
        self.labels: Labels | None = None
        self.hidden: set[int] = set()
        self.drawing, self.cameras = Drawing(page), Cameras(page)
        self.panel = Panel(page.gui, self.choice, library.runs)
        self.read()
        self.draw()

    @property
    def viewed(self) -> ViewedScene:
        """What is shown."""
        return self.stage.viewed

    def stage_of(self, one: LiftedScene) -> Stage:
        """Return a scene read, and say so while it is; Lift3dError if it cannot be."""
        return self._waited_for(one, self.library.stage)

    def sight_of(self, one: LiftedScene) -> Stage:
        """Return a scene read or a sketch of it, and say so while that is made; Lift3dError if it cannot be."""
        return self._waited_for(one, self.library.sight)

    def _waited_for(self, one: LiftedScene, read: Callable[[LiftedScene], Stage]) -> Stage:
        reading = working_notice(self.page, f"Reading {one.name} …")
        with contextlib.nullcontext() if self.library.holds(one) else reading:
            return read(one)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until what came before is done, which stops sending pictures that are out of date already."""
        self._turns += 1
        with self._lock:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            if self._is_behind and not self._depth:
                turn = self._turns
                self._is_behind = not self.cameras.colour(self.colours, lambda: turn == self._turns)
        self.moved()

    @property
    def eye_through(self) -> Float[Tensor, "3"] | None:
        """Where the camera stands that is looked through, page units; None if none is."""
        with self._lock:
            return None if self.through < 0 else self.stage.to_page(self.viewed.cameras[self.through].center)

    def keep_eye(self, eye: Eye) -> None:
        """Remember where the browser is."""
        with self._lock:
            self.choice = replace(self.choice, eye=eye)

    def moved(self) -> None:
        """Something that a picture shows has changed; whoever follows takes the place of this."""

    @property
    def colours(self) -> Colours:
        """The colours of now."""
        return self.surface.colours

    def draw(self) -> None:
        """Draw everything."""
        self.draw_surface()
        self.draw_cameras(self.choice.cameras)
        self._mark()
        self.panel.show_labels(self.labels, self.hidden)
        self.panel.show_mode(self.mode, self.choice.words, self.colours.limits)
        self._show_through()

    def draw_cameras(self, style: CameraStyle) -> None:
        """Draw the cameras in a style."""
        with self._lock:
            self.choice = replace(self.choice, cameras=style)
            self.cameras.draw(style, self.stage.to_page, self.colours, self.stage.keyframes)

    def draw_surface(self) -> None:
        """Draw the points or triangles that are shown now."""
        with self._lock:
            is_shown = self.stage.is_shown(self.choice.shown, self.labels, self.hidden)
            self.shown_points: RasterPoints = kept_points(self.stage.points, is_shown)
            self.surface = Shown(self.stage, self.shown_points, self._colours(), self.mode)
            mesh, trouble = None, ""
            if self.choice.shape == "mesh":
                try:
                    mesh = self._mesh()
                except Lift3dError as error:
                    trouble = texts.trouble(str(error))
            count = self.surface.draw(self.drawing, self.choice, is_shown, mesh)
            self.panel.summary.content = texts.summary(self.stage.lifted.name, self.viewed, count) + trouble

    def _mesh(self) -> PageMesh:
        """Return the triangles that are there in a moment; finer ones follow."""
        mesh, stage = self.stage.mesh(), self.stage
        if not stage.has_fine_mesh and self._refined is not stage and not stage.viewed.is_sketch:
            self._refined = stage
            # Python waits for it when it ends, as for what is read.
            threading.Thread(target=self._refine, args=(stage,), name="lift3d-mesh").start()
        return mesh

    def _refine(self, stage: Stage) -> None:
        # The browser may go meanwhile, and a surface have no triangles that are finer: what is drawn stays.
        with contextlib.suppress(RuntimeError, Lift3dError):
            with working_notice(self.page, "Making finer triangles …"):
                stage.mesh(FINE)
            with self.turn():
                if self.stage is stage and self.choice.shape == "mesh" and not self.is_over:
                    self.draw_surface()

    def read(self) -> None:
        """Offer what the scene has."""
        things = self.stage.things[-1:]
        predicted = predicted_labels(self.viewed, self.choice.is_lifted)
        self.labels = things[0] if things and (predicted is None or self.choice.colouring == "things") else predicted
        self.remember_labels()
        one, scenes = self.stage.lifted, self.library.scenes(self.choice.run)
        of_scene = [other for other in scenes if other.name == one.name]
        of_operator = [other for other in of_scene if other.operator == one.operator]
        choices = [
            [*dict.fromkeys(getattr(other, name) for other in found)]
            for name, found in (("name", scenes), ("operator", of_scene), ("lifter", of_operator))
        ]
        self.panel.show_choice(self.stage, self.choice, choices, self.library.first.trusted)
        if self.panel.against.value == NOTHING:
            # What was compared with is not there any more, or is what is shown now.
            self.choice = replace(self.choice, against="")

    def remember_labels(self) -> None:
        """Call labels what they were called before, and hide those that were hidden."""
        self.hidden = set()
        if self.labels is not None:
            key = labels_key(self.stage.lifted, self.labels)
            for label, _ in self.labels.listed:
                if (name := self.choice.names.get(f"{key} {label}")) is not None:
                    self.labels = self.labels.renamed(label, name)
            hidden = self.choice.hidden.get(key, "").split()
            self.hidden = {int(one) for one in hidden if one.removeprefix("-").isdecimal()}

    def recolour(self, mode: ColourMode) -> None:
        """Show something in other colours: first what is drawn of the surface, and pictures at cameras at last."""
        has_moved = mode.point != self.mode.point
        self.mode = mode
        if self.choice.shape == "mesh":
            self.draw_surface()
        else:
            self.surface = replace(self.surface, colours=self._colours(), mode=mode)
            self.drawing.colour_points(self.colours)
        self.moved()
        if has_moved:
            self._mark()
        self.panel.show_mode(mode, self.choice.words, self.colours.limits)
        self._show_through()
        self._is_behind = True

    def _colours(self) -> Colours:
        colours = colours_of(self.viewed, replace(self.mode, colouring="photo") if self.shows_things else self.mode)
        labels = self.labels
        return replace(colours, of_points=labels.paint) if self.shows_things and labels is not None else colours

    @property
    def shows_things(self) -> bool:
        """Whether the colours are those of labels."""
        return self.mode.colouring == "things" and not self.mode.is_asking and self.labels is not None

    def _mark(self) -> None:
        point = self.mode.point
        self.drawing.mark(None if point is None else self.stage.points.xyz[:, point])

    def _show_through(self) -> None:
        if self.through < 0:
            self.panel.show_through("", None, False)
        else:
            place = self.viewed.slices[self.through]
            picture = self.colours.picture(self.through)
            self.panel.show_through(place.target, picture, place.target in self.viewed.photos)
