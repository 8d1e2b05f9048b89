"""One browser from its coming to its going: its panel's events, pictures that follow its eye, what it remembers."""

import contextlib
from dataclasses import replace
from typing import Any

import numpy as np
import viser

from lift3d.domain.keys import digest
from lift3d.errors import Lift3dError
from lift3d.viewer import texts
from lift3d.viewer.choice import POINT_COUNTS, WITH_CARD, Choice, Filter
from lift3d.viewer.colouring import colours_of
from lift3d.viewer.eyes import eye_of, first_eye, look, page_camera
from lift3d.viewer.library import Library, ViewerEnd
from lift3d.viewer.live import Follower
from lift3d.viewer.page import RENDERER
from lift3d.viewer.panel import CAMERAS, NOTHING, PLAIN, SHAPES
from lift3d.viewer.picture import beside, raster_points
from lift3d.viewer.raster import PageCamera
from lift3d.viewer.session import Session
from lift3d.viewer.shown import Shown
from lift3d.viewer.taken import Taken
from lift3d.viewer.viewed_scene import Colouring, Picture8

# A browser that does not say what it kept is shown the first scene.
_ANSWERS_WITHIN_S = 5.0
# Page units; eyes that are farther from a camera do not look through it.
_AT_CAMERA = 0.01


class Visit:
    """A browser's session, with what happens of itself."""

    def __init__(self, client: viser.ClientHandle, library: Library) -> None:
        """Show what the browser showed when it was last here."""
        self._client, self._library = client, library
        one = library.first
        # What was asked for on the command line is shown, whatever was looked at before.
        self._key = digest([one.store.url, one.recipe.run_id, one.name, one.operator, one.lifter])
        stored = self._stored(self._key)
        self._is_new = stored is None
        kept = Choice.of(stored, Choice(one.recipe.run_id, one.name, one.operator, one.lifter))
        self.session = Session(client, library, replace(kept, words=""))
        look(client, self.session.choice.eye or first_eye(self.session.stage.to_page, client))
        self._taken = Taken(client, self.session, self.picture)
        self._follower = Follower(self._draw_picture, self._rest)
        self.session.moved = self._follower.moved  # type: ignore[method-assign]
        self._listen()
        if kept.words:
            self.session.panel.words.value = kept.words
            self.session.ask_words(kept.words)
        self._follower.moved()

    def stop(self) -> None:
        """The browser has gone."""
        self.session.is_over = True
        self._follower.stop()

    def suit_renderer(self) -> None:
        """Draw more points if a graphics card draws them; who was here before keeps what was drawn then."""
        is_unchosen = self._is_new and self.session.choice.count == POINT_COUNTS[0]
        if is_unchosen and self._stored(RENDERER) == "card":
            self._set(count=WITH_CARD)
            self.session.panel.show_count(WITH_CARD)

    def picture(self, camera: PageCamera) -> Picture8:
        """Return what a camera sees as it is chosen now, beside what it is compared with."""
        surface, choice = self.session.surface, self.session.choice
        is_depth = surface.mode.colouring == "depth" and not surface.mode.is_asking
        picture = surface.picture(camera, is_depth)
        if choice.against and (other := self._other(surface)) is not None:
            picture = beside(picture, other.picture(camera, is_depth), choice.split)
        return picture

    def _other(self, surface: Shown) -> Shown | None:
        """Return what stands on the right: plain 2D answers, or another run's, asked the same."""
        session, against, said = self.session, self.session.choice.against, self.session.panel.beside
        if against == PLAIN:
            # Masks of things are merged of all views: no view has them alone.
            said.content = texts.unlike_left(surface.mode, "photo") if session.shows_things else ""
            mode = replace(surface.mode, is_lifted=not surface.mode.is_lifted)
            return replace(surface, colours=colours_of(surface.stage.viewed, mode), mode=mode)
        one = surface.stage.lifted
        try:
            found = self._library.nearest(against, one.name, one.operator, one.lifter)
            if (found.recipe.run_id, found.name) != (against, one.name):
                raise Lift3dError("That run has not lifted this scene.")
            stage = session.stage_of(found)
        except Lift3dError as error:
            said.content = texts.trouble(str(error))
            return None
        colouring = surface.mode.colouring
        mode = replace(surface.mode, point=None, area=None, texts=None)
        if colouring not in stage.viewed.colourings:
            mode = replace(mode, colouring=stage.viewed.colourings[0])
        other = stage.lifted.operator
        said.content = texts.unlike_left(surface.mode, mode.colouring, other if other != one.operator else "")
        # In the page of what is chosen, so that both are seen from one place.
        moved = raster_points(stage.viewed, surface.stage.to_page)
        return Shown(stage, moved, colours_of(stage.viewed, mode), mode)

    def _draw_picture(self, height: int) -> None:
        if not self.session.choice.against:
            # Here, where it is written, too.
            self.session.panel.beside.content = ""
        if self.session.choice.shape == "picture":
            camera = self._client.camera
            self.session.drawing.show_background(self.picture(page_camera(camera, min(height, camera.image_height))))

    def _rest(self) -> None:
        """Keep where the browser is; say so if it no longer looks through a camera."""
        session = self.session
        eye = eye_of(self._client.camera)
        session.keep_eye(eye)
        self._client.local_storage.set_item(self._key, session.choice.to_text())
        at = session.eye_through
        if at is not None and np.abs(at.numpy() - np.asarray(eye.position)).max() > _AT_CAMERA:
            session.stand_at(-1)

    def _stored(self, key: str) -> str | None:
        try:
            return self._client.local_storage.get_item(key, timeout=_ANSWERS_WITHIN_S)
        except (RuntimeError, TimeoutError):
            return None

    def _set(self, **changed: Any) -> None:
        """Change what is chosen, and draw it."""
        with self.session.turn():
            self.session.choice = replace(self.session.choice, **changed)
            if {*changed} & {"shape", "count"}:
                self.session.draw_surface()

    def _listen(self) -> None:
        panel, session = self.session.panel, self.session
        for choice in (panel.run, panel.scene, panel.operator, panel.lifter):
            choice.on_update(_from_people(lambda _: self._choose()))
        shapes = {label: shape for shape, label in SHAPES.items()}
        panel.shape.on_update(_from_people(lambda _: self._set(shape=shapes[panel.shape.value])))
        panel.switch.on_click(lambda _: session.switch(not session.mode.is_lifted))
        panel.colouring.on_update(_from_people(lambda _: session.colour(_colouring_of(panel.colouring.value))))
        panel.find.on_click(lambda _: session.ask_words(panel.words.value))
        panel.reset.on_click(lambda _: session.ask_point(None))
        panel.overview.on_click(lambda _: session.enter(-1))
        panel.opacity.on_update(_from_people(lambda _: session.show_photo()))
        styles = {label: style for style, label in CAMERAS.items()}
        panel.cameras.on_update(_from_people(lambda _: session.draw_cameras(styles[panel.cameras.value])))
        panel.points.on_update(_from_people(lambda _: self._set(count=panel.most_points)))
        sliders: list[Any] = [panel.least_views, panel.confidence, *panel.crop]
        for one in sliders:
            one.on_update(_from_people(lambda _: session.filter(panel.filter)))
        panel.whole.on_click(lambda _: self._show_all())
        panel.against.on_update(_from_people(lambda _: self._compare(self._run(panel.against.value))))
        panel.split.on_update(_from_people(lambda _: self._set(split=float(panel.split.value))))
        self._listen_to_labels()
        panel.save.on_click(lambda _: self._taken.save_points())
        panel.key_view.on_click(lambda _: self._taken.keep_view())
        panel.forget.on_click(lambda _: self._taken.forget_views())
        panel.record.on_click(lambda _: self._taken.record())
        self._client.scene.on_click()(lambda event: session.click(event.ray_origin, event.ray_direction))
        self._client.scene.on_rect_select(modifier="shift")(
            lambda event: session.ask_box(event.screen_min, event.screen_max)
        )
        self._client.camera.on_update(lambda _: self._follower.moved())

    def _listen_to_labels(self) -> None:
        panel, session = self.session.panel, self.session
        panel.masks.on_click(lambda _: session.find_masks())

        def hide(_: Any) -> None:
            with session.turn():
                label, labels = panel.chosen_label, session.labels
                if labels is None or label is None:
                    return
                every = {one for one, _ in labels.listed} | {-1}
                changed = {"Only this": every - {label}, "All": set()}
                session.label(hidden=changed.get(panel.hide.value, session.hidden ^ {label}))

        def rename(_: Any) -> None:
            # A turn, since another that ends offers all labels anew.
            with session.turn():
                if (label := panel.chosen_label) is not None:
                    session.label(name=(label, panel.name.value))

        panel.hide.on_click(hide)
        panel.save_masks.on_click(lambda _: self._taken.save_masks())
        panel.name.on_update(_from_people(rename))
        panel.label.on_update(_from_people(lambda _: panel.show_name()))

    def _choose(self) -> None:
        """Show what the menus name."""
        panel = self.session.panel
        run = self._run(panel.run.value)
        self.session.choose(panel.scene.value, panel.operator.value, panel.lifter.value, run)
        self._taken.show_kept()

    def _run(self, called: str) -> str:
        """Return the run of a name, or what else there is to compare with."""
        return "" if called == NOTHING else self.session.panel.runs.get(called, called)

    def _compare(self, against: str) -> None:
        """Show something beside what is chosen, which pictures do."""
        self._set(against=against, **({"shape": "picture"} if against else {}))
        self.session.panel.shape.value = SHAPES[self.session.choice.shape]

    def _show_all(self) -> None:
        self.session.panel.show_filter(self.session.stage, Filter())
        self.session.filter(Filter())


def _from_people(handler: Any) -> Any:
    """Return a handler that leaves out what the panel did itself, as when it offers other choices."""

    def handle(event: Any) -> None:
        # Of a viewer that ends nobody waits for what is read.
        with contextlib.suppress(ViewerEnd):
            if event.client_id is not None:
                handler(event)

    return handle


def _colouring_of(text: str) -> Colouring:
    found: Colouring = next(key for key, value in texts.COLOURINGS.items() if value == text)  # type: ignore[assignment]
    return found
