"""The panel beside the 3D view: what can be chosen, asked and read."""

from collections.abc import Sequence
from html import escape

import viser

from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.words import can_take_words
from lift3d.viewer import texts
from lift3d.viewer.drawing import POINT_COUNTS
from lift3d.viewer.viewed_scene import ColourMode, Picture8, ViewedScene

# viser's "large" panel, pixels without its margins.
_PANEL_WIDTH = 360


class Panel:
    """Handles of everything in the panel, laid out when it is made."""

    def __init__(self, gui: viser.GuiApi, scenes: Sequence[LiftedScene], current: LiftedScene) -> None:
        self.gui, self.scenes, self.current = gui, scenes, current
        self.picture: viser.GuiImageHandle | None = None
        self.summary = gui.add_html("")
        gui.add_html(texts.paragraph(texts.HELP))
        self.scene = gui.add_dropdown("Scene", self.choices("name"), initial_value=self.current.name)
        self.operator = gui.add_dropdown("Model", self.choices("operator"), initial_value=self.current.operator)
        self.lifter = gui.add_dropdown("Lifted by", self.choices("lifter"), initial_value=self.current.lifter)
        self.colouring = gui.add_dropdown("Colours", tuple(texts.COLOURINGS.values()))
        self.switch = gui.add_button(texts.SWITCH[True], hint="Compare the model's own answers with the lifted ones")
        self.meaning = gui.add_html("")
        with gui.add_form(None) as self.form:
            self.words = gui.add_text("Find words", "", hint="For example: a mug")
            self.find = gui.add_button("Find", color="gray")
        self.words_note = gui.add_html("")
        self.reset = gui.add_button(
            "Forget the question", hint="Back to the colours chosen above", color="gray", disabled=True
        )
        self.overview = gui.add_button("Look from outside", color="gray")
        self.through = gui.add_html("", visible=False)
        self.cameras = gui.add_checkbox("Show cameras", True)
        self.points = gui.add_dropdown("Points", tuple(f"up to {count:,}" for count in POINT_COUNTS))

    @property
    def most_points(self) -> int:
        """How many points may be drawn."""
        return POINT_COUNTS[tuple(self.points.options).index(self.points.value)]

    def choices(self, attribute: str) -> tuple[str, ...]:
        """Return scenes, or operators of the scene, or lifters of the scene's operator."""
        found = [one for one in self.scenes if attribute == "name" or one.name == self.current.name]
        if attribute == "lifter":
            found = [one for one in found if one.operator == self.current.operator]
        return tuple(dict.fromkeys(getattr(one, attribute) for one in found))

    def show_choice(self, current: LiftedScene, viewed: ViewedScene, count: int) -> None:
        """Offer what there is of the scene, and say what is shown."""
        self.current = current
        for handle, attribute in ((self.operator, "operator"), (self.lifter, "lifter")):
            if tuple(handle.options) != self.choices(attribute):
                handle.options = self.choices(attribute)
        self.colouring.options = tuple(texts.COLOURINGS[one] for one in viewed.colourings)
        self.switch.disabled = viewed.plain is None
        trouble = can_take_words(current.operator, current.recipe.plugins)
        self.words.disabled = self.find.disabled = bool(trouble)
        self.words_note.content = texts.paragraph(escape(trouble)) if trouble else ""
        self.summary.content = texts.summary(current.name, viewed, count)

    def show_mode(self, mode: ColourMode, words: str, limits: tuple[float, float] | None) -> None:
        """Say what the colours mean."""
        self.switch.label = texts.SWITCH[mode.is_lifted]
        self.reset.disabled = mode.point is None and mode.texts is None
        self.meaning.content = texts.explanation(mode, words, limits)

    def show_through(self, target: str, picture: Picture8 | None) -> None:
        """Show which camera is looked through, and its picture; an empty target: none."""
        self.through.visible = bool(target)
        self.through.content = texts.through(target) if target else ""
        large = None if picture is None else _enlarged(picture)
        if self.picture is None and large is not None:
            self.picture = self.gui.add_image(large, format="jpeg")
        elif self.picture is not None and large is not None:
            self.picture.image = large
        if self.picture is not None:
            self.picture.visible = bool(target)


def _enlarged(picture: Picture8) -> Picture8:
    """Return a small picture as wide as the panel, its pixels as squares."""
    times = max(1, _PANEL_WIDTH // picture.shape[1])
    return picture.repeat(times, axis=0).repeat(times, axis=1)
