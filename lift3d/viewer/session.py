"""What happens when something is chosen, clicked or typed. One state for all browsers that look at one server."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import viser

from lift3d.errors import Lift3dError
from lift3d.operators.open_vocabulary import TextEncoder
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.words import can_take_words, embedded, text_encoder
from lift3d.viewer import texts
from lift3d.viewer.drawing import Drawing
from lift3d.viewer.gathering import view_scene
from lift3d.viewer.panel import Panel
from lift3d.viewer.picking import pick_picture, pick_point
from lift3d.viewer.viewed_scene import Colouring, ColourMode, Colours, ViewedScene


class Session:
    """One store on one server."""

    def __init__(self, server: viser.ViserServer, scenes: Sequence[LiftedScene], current: LiftedScene) -> None:
        """Read the current scene and draw it."""
        self._server, self._scenes, self.current = server, scenes, current
        self._lock = threading.RLock()
        self._turns = 0
        self._words, self._encoders = "", dict[str, TextEncoder]()
        self._through = -1
        self.viewed: ViewedScene = view_scene(current, scenes)
        self.mode = ColourMode(colouring=self.viewed.colourings[0])
        self.drawing = Drawing(server)
        self.panel = Panel(server.gui, scenes, current)
        self._draw()
        self._listen()

    def ask_point(self, point: int | None) -> None:
        """Compare everything with a point of the cloud; None: with nothing."""
        with self._turn():
            self._words = ""
            self._recolour(replace(self.mode, point=point, texts=None))

    def ask_words(self, words: str) -> None:
        """Look for words; what cannot be looked for is said in the panel."""
        with self._turn():
            name = self.current.operator
            try:
                if trouble := can_take_words(name, self.current.recipe.plugins):
                    raise Lift3dError(trouble)
                if name not in self._encoders:
                    self.panel.words_note.content = texts.paragraph("Loading the model that reads words …")
                    self._encoders[name] = text_encoder(name)
                vectors = embedded(self._encoders[name], words)
                channels = self.viewed.lifted.unit.shape[1]
                if vectors.shape[1] != channels:
                    raise Lift3dError(f"Words have {vectors.shape[1]} channels and features {channels}: no one space.")
            except Lift3dError as error:
                self.panel.words_note.content = texts.trouble(str(error))
                return
            self.panel.words_note.content = ""
            self._words = words.strip()
            self._recolour(replace(self.mode, point=None, texts=vectors))

    def switch(self, is_lifted: bool) -> None:
        """Show lifted answers, or plain 2D ones."""
        with self._turn():
            self._recolour(replace(self.mode, is_lifted=is_lifted or self.viewed.plain is None))

    def colour(self, colouring: Colouring) -> None:
        """Choose what is shown when nothing is asked; what was asked is forgotten."""
        with self._turn():
            self._words = ""
            self._recolour(replace(self.mode, colouring=colouring, point=None, texts=None))

    def choose(self, scene: str, operator: str, lifter: str) -> None:
        """Read and draw something else of the store; of what the scene does not have, the first or last it has."""
        with self._turn():
            chosen = _nearest_choice(self._scenes, scene, operator, lifter)
            try:
                viewed = view_scene(chosen, self._scenes)
            except Lift3dError as error:
                self.panel.summary.content = texts.trouble(f"{chosen!r} cannot be shown: {error}")
                return
            self.current, self.viewed, self._words = chosen, viewed, ""
            colouring = self.mode.colouring if self.mode.colouring in viewed.colourings else viewed.colourings[0]
            self.mode = ColourMode(self.mode.is_lifted or viewed.plain is None, colouring)
            self._draw()

    def click(self, client: viser.ClientHandle, origin: Sequence[float], direction: Sequence[float]) -> None:
        """Answer a click along a ray of the page: the first picture or point there."""
        with self._turn():
            if self.drawing.to_page is None:
                return
            start, ray = (torch.tensor(tuple(one), dtype=torch.float64) for one in (origin, direction))
            point = pick_point(self.drawing.points, start, ray)
            picture = None
            if self.drawing.are_cameras_shown:
                picture = pick_picture(self.viewed.cameras, self.drawing.to_page, start, ray)
            if picture is not None and picture[0] != self._through and (point is None or picture[1] < point[1]):
                self.enter(client, picture[0])
            elif point is not None:
                self.ask_point(int(self.drawing.drawn[point[0]]))

    def enter(self, client: viser.ClientHandle, index: int) -> None:
        """Look through a camera; −1: from outside."""
        with self._turn():
            self._through = index
            if index < 0:
                self.drawing.look_over(client)
            else:
                self.drawing.look_through(client, self.viewed, index)
            # Pictures of cameras nearby would stand in the way.
            self.panel.cameras.value = index < 0
            self.drawing.show_cameras(index < 0)
            self._show_through(self.viewed.colours(self.mode))

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until what came before is done, which stops sending pictures that are out of date already."""
        self._turns += 1
        with self._lock:
            yield

    def _draw(self) -> None:
        colours = self.viewed.colours(self.mode)
        self._through = -1
        self.drawing.show(self.viewed, colours, self.panel.most_points)
        self._mark()
        self.panel.show_choice(self.current, self.viewed, len(self.drawing.drawn))
        self.panel.show_mode(self.mode, self._words, colours.limits)
        self._show_through(colours)

    def _recolour(self, mode: ColourMode) -> None:
        turn = self._turns
        has_moved = mode.point != self.mode.point
        self.mode = mode
        colours = self.viewed.colours(mode)
        self.drawing.colour_cloud(colours)
        if has_moved:
            self._mark()
        self.panel.show_mode(mode, self._words, colours.limits)
        self.drawing.colour_pictures(self.viewed, colours, lambda: turn == self._turns)
        self._show_through(colours)

    def _mark(self) -> None:
        to_page, point = self.drawing.to_page, self.mode.point
        world = None if point is None else self.viewed.cloud.xyz[point]
        self.drawing.mark(None if to_page is None or world is None else to_page(world))

    def redraw(self) -> None:
        """Draw again with as many points as the panel says now."""
        with self._turn():
            self._draw()

    def _show_through(self, colours: Colours) -> None:
        if self._through < 0:
            self.panel.show_through("", None)
        else:
            place = self.viewed.slices[self._through]
            self.panel.show_through(place.target, self.viewed.picture(colours.pixels, self._through))

    def _listen(self) -> None:
        panel = self.panel
        for choice in (panel.scene, panel.operator, panel.lifter):
            choice.on_update(
                _from_people(lambda _: self.choose(panel.scene.value, panel.operator.value, panel.lifter.value))
            )
        panel.switch.on_click(lambda _: self.switch(not self.mode.is_lifted))
        panel.colouring.on_update(_from_people(lambda _: self.colour(_colouring_of(panel.colouring.value))))
        panel.form.on_submit(lambda _: self.ask_words(panel.words.value))
        panel.find.on_click(lambda _: panel.form.submit())
        panel.reset.on_click(lambda _: self.ask_point(None))
        panel.overview.on_click(lambda event: self.enter(event.client, -1) if event.client else None)
        panel.cameras.on_update(lambda _: self.drawing.show_cameras(panel.cameras.value))
        panel.points.on_update(_from_people(lambda _: self.redraw()))
        self._server.scene.on_click()(lambda event: self.click(event.client, event.ray_origin, event.ray_direction))


def _from_people(handler: Any) -> Any:
    """Return a handler that leaves out what the panel did itself, as when it offers other choices."""
    return lambda event: handler(event) if event.client_id is not None else None


def _colouring_of(text: str) -> Colouring:
    found: Colouring = next(key for key, value in texts.COLOURINGS.items() if value == text)  # type: ignore[assignment]
    return found


def _nearest_choice(scenes: Sequence[LiftedScene], scene: str, operator: str, lifter: str) -> LiftedScene:
    of_scene = [one for one in scenes if one.name == scene] or list(scenes)
    of_operator = [one for one in of_scene if one.operator == operator] or [
        one for one in of_scene if one.operator == of_scene[0].operator
    ]
    return next((one for one in of_operator if one.lifter == lifter), of_operator[-1])
