"""The panel beside the 3D view: what can be chosen, asked and read."""

from collections.abc import Mapping, Sequence
from html import escape

import viser

from lift3d.results.query.words import can_take_words
from lift3d.viewer import texts
from lift3d.viewer.choice import ALL, POINT_COUNTS, CameraStyle, Choice, Filter, Shape
from lift3d.viewer.colouring import ColourMode
from lift3d.viewer.labels import Labels
from lift3d.viewer.stage import Stage
from lift3d.viewer.viewed_scene import Colouring, Picture8

# viser's "large" panel, pixels without its margins.
_PANEL_WIDTH = 360
SHAPES: dict[Shape, str] = {"points": "points", "mesh": "triangles (mesh)", "picture": "picture from here"}
CAMERAS: dict[CameraStyle, str] = {"hidden": "none", "outlines": "outlines", "pictures": "with their pictures"}
NOTHING, PLAIN = "nothing", "plain 2D"
_STEP = 0.01


class Panel:
    """Handles of everything in one browser's panel, laid out when it is made."""

    def __init__(self, gui: viser.GuiApi, choice: Choice, runs: Mapping[str, str]) -> None:
        self.gui = gui
        self.picture: viser.GuiImageHandle | None = None
        self._called: Labels | None = None
        self.summary = gui.add_html("")
        gui.add_html(texts.paragraph(texts.HELP))
        self.runs = dict(runs)
        now = next((called for called, run in runs.items() if run == choice.run), next(iter(runs)))
        self.run = gui.add_dropdown("Run", tuple(runs), initial_value=now, visible=len(runs) > 1)
        self.scene, self.operator, self.lifter = (
            gui.add_dropdown(label, (now,))
            for label, now in (("Scene", choice.scene), ("Model", choice.operator), ("Lifted by", choice.lifter))
        )
        self.shape = gui.add_dropdown("Show as", tuple(SHAPES.values()), initial_value=SHAPES[choice.shape])
        self.colouring = gui.add_dropdown("Colours", tuple(texts.COLOURINGS.values()))
        self.cameras = gui.add_dropdown("Cameras", tuple(CAMERAS.values()), initial_value=CAMERAS[choice.cameras])
        self.switch = gui.add_button(texts.SWITCH[True], hint="Compare the model's own answers with the lifted ones")
        self.meaning = gui.add_html("")
        # Enter in a text presses the button below it: see what is added to the page.
        self.words = gui.add_text("Find words", "", hint="For example: a mug")
        self.find = gui.add_button("Find", color="gray")
        self.words_note = gui.add_html("")
        self.reset = gui.add_button(
            "Forget the question", hint="Back to the colours chosen above", color="gray", disabled=True
        )
        self.overview = gui.add_button("Look from outside", color="gray")
        self.through = gui.add_html("", visible=False)
        self.opacity = gui.add_slider("Photograph over it", 0.0, 1.0, 0.05, 0.0, visible=False)
        self._add_folders(choice)

    def _add_folders(self, choice: Choice) -> None:
        gui = self.gui
        with gui.add_folder("Points and crop", expand_by_default=False):
            counts = tuple(f"up to {count:,}" for count in POINT_COUNTS)
            self.points = gui.add_dropdown("Points", counts, initial_value=counts[POINT_COUNTS.index(choice.count)])
            self.least_views = gui.add_slider("Seen by at least", 1, 2, 1, 1, hint="Views")
            self.confidence = gui.add_slider("As sure as", 0.0, 1.0, 0.05, 0.0, hint="Confidence of the lifted answer")
            # Sliders of their own, since those with two ends take neither fingers nor keys.
            self.crop = [
                gui.add_slider(label, *ALL, _STEP, ALL[number % 2])
                for number, label in enumerate(("Left", "Right", "Near", "Far", "Low", "High"))
            ]
            self.whole = gui.add_button("Show everything", color="gray")
        with gui.add_folder("Side by side", expand_by_default=False):
            gui.add_html(texts.paragraph("In a picture from here. Left: what is chosen above. Right:"))
            self.against = gui.add_dropdown("Compare with", (NOTHING,))
            self.split = gui.add_slider("Line at", 0.0, 1.0, 0.01, choice.split)
            self.beside = gui.add_html("")
        with gui.add_folder("Labels", expand_by_default=False):
            self.legend = gui.add_html("")
            self.masks = gui.add_button(
                "Find things", hint="Masks of things on the surface, in half a minute", color="gray"
            )
            self.label = gui.add_dropdown("Label", ("–",))
            self.name = gui.add_text("Called", "")
            self.hide = gui.add_button_group("", ("Hide or show", "Only this", "All"))
            self.save_masks = gui.add_button("Save the masks of all views (.json)", color="gray", visible=False)
        with gui.add_folder("Box and file", expand_by_default=False):
            self.box = gui.add_html(texts.paragraph(texts.BOX))
            self.save = gui.add_button("Save the points (.ply)", color="gray")
        with gui.add_folder("Film", expand_by_default=False):
            self.key_view = gui.add_button("Keep this view", color="gray")
            self.key_views = gui.add_html(texts.paragraph(texts.FILM))
            self.forget = gui.add_button("Forget the kept views", color="gray", visible=False)
            self.seconds = gui.add_slider("Seconds", 2, 60, 1, 6)
            self.record = gui.add_button("Record (.mp4)", color="gray")
            self.progress = gui.add_progress_bar(0.0, visible=False)

    @property
    def most_points(self) -> int:
        """How many points may be drawn."""
        return POINT_COUNTS[tuple(self.points.options).index(self.points.value)]

    def show_count(self, most: int) -> None:
        """Say how many points may be drawn."""
        self.points.value = self.points.options[POINT_COUNTS.index(most)]

    @property
    def filter(self) -> Filter:
        """Which points are to be shown."""
        x, y, z = (_range(*self.crop[axis : axis + 2]) for axis in (0, 2, 4))
        return Filter(int(self.least_views.value), float(self.confidence.value), x, y, z)

    def show_choice(
        self,
        stage: Stage,
        choice: Choice,
        choices: Sequence[Sequence[str]],
        trusted: Sequence[str],
    ) -> None:
        """Offer what there is of the scene: ``choices`` of scenes, operators, lifters."""
        current, viewed = stage.lifted, stage.viewed
        now = (current.name, current.operator, current.lifter)
        for handle, offered, value in zip((self.scene, self.operator, self.lifter), choices, now, strict=True):
            if tuple(handle.options) != tuple(offered):
                handle.options = tuple(offered)
            if handle.value != value:
                handle.value = value
        self.show_colourings(stage, choice.colouring)
        self.switch.disabled = viewed.plain is None
        called = {run: name for name, run in self.runs.items()}
        self.run.value = called[choice.run]
        others = [name for run, name in called.items() if run != choice.run]
        self.against.options = (NOTHING, *([PLAIN] if viewed.plain is not None else []), *others)
        against = called.get(choice.against, choice.against)
        self.against.value = against if against in self.against.options else NOTHING
        trouble = can_take_words(current.operator, current.recipe.plugins, trusted)
        self.words.disabled = self.find.disabled = bool(trouble)
        self.words_note.content = texts.paragraph(escape(trouble)) if trouble else ""
        self.show_filter(stage, choice.shown)

    def show_colourings(self, stage: Stage, chosen: Colouring) -> None:
        """Offer the colours that there are."""
        self.colouring.options = tuple(texts.COLOURINGS[one] for one in stage.colourings)
        self.colouring.value = texts.COLOURINGS[chosen]

    def show_filter(self, stage: Stage, shown: Filter) -> None:
        """Set the sliders to what is shown."""
        viewed = stage.viewed
        self.least_views.max = max(2, int(viewed.surface.views.max()) if len(viewed.surface) else 2)
        self.least_views.value = min(shown.least_views, self.least_views.max)
        self.confidence.disabled = "confidence" not in viewed.colourings
        self.confidence.value = shown.least_confidence
        for axis, (ends, kept) in enumerate(zip(stage.extent, (shown.x, shown.y, shown.z), strict=True)):
            for handle, value in zip(self.crop[2 * axis : 2 * axis + 2], kept, strict=True):
                # Of what lies beyond, the ends stand for all.
                handle.min, handle.max = ends
                handle.value = min(max(value, ends[0]), ends[1])

    def show_mode(self, mode: ColourMode, words: str, limits: tuple[float, float] | None) -> None:
        """Say what the colours mean."""
        self.switch.label = texts.SWITCH[mode.is_lifted]
        self.reset.disabled = not mode.is_asking
        self.meaning.content = texts.explanation(mode, words, limits)

    def show_labels(self, labels: Labels | None, hidden: set[int]) -> None:
        """Show the legend: names, colours, how much there is of each."""
        self.legend.content = texts.legend(labels, hidden)
        names = {label: f"{label}: {labels.name(label)}" for label, _ in labels.listed} if labels else {}
        chosen = self.chosen_label
        # The one that is chosen stays, however it is called now.
        self.label.options = tuple(names.values()) or ("–",)
        if chosen in names:
            self.label.value = names[chosen]
        is_other = chosen not in names or (labels and labels.source) != (self._called and self._called.source)
        self._called = labels
        if is_other:
            self.show_name()
        self.save_masks.visible = labels is not None and labels.masks is not None
        self.label.visible = self.name.visible = self.hide.visible = bool(names)

    def show_name(self) -> None:
        """Write what the chosen label is called, so that it can be called otherwise."""
        label = self.chosen_label
        self.name.value = "" if label is None or self._called is None else self._called.called(label)

    @property
    def chosen_label(self) -> int | None:
        """The label that is chosen in the legend."""
        number = self.label.value.partition(":")[0]
        return int(number) if number.isdecimal() else None

    def show_through(self, target: str, picture: Picture8 | None, has_photo: bool) -> None:
        """Show which camera is looked through, and its picture; an empty target: none."""
        self.through.visible = bool(target)
        self.through.content = texts.through(target) if target else ""
        self.opacity.visible = bool(target) and has_photo
        large = None if picture is None else _enlarged(picture)
        if self.picture is None and large is not None:
            self.picture = self.gui.add_image(large, format="jpeg")
        elif self.picture is not None and large is not None:
            self.picture.image = large
        if self.picture is not None:
            self.picture.visible = bool(target)


def _range(low: viser.GuiSliderHandle[float], high: viser.GuiSliderHandle[float]) -> tuple[float, float]:
    """Return from where to where; at the ends of the sliders nothing is cut off."""
    return ALL[0] if low.value <= low.min else float(low.value), ALL[1] if high.value >= high.max else float(high.value)


def _enlarged(picture: Picture8) -> Picture8:
    """Return a small picture as wide as the panel, its pixels as squares."""
    times = max(1, _PANEL_WIDTH // picture.shape[1])
    return picture.repeat(times, axis=0).repeat(times, axis=1)
