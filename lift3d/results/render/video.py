"""``lift3d render``: a video of one lifted scene.

Along the run's own targets (``frames`` 0) the plain 2D answer stands beside the lifted one, so that one flickers and
the other does not. Along novel cameras there is no 2D answer: the lifted picture, if the run has it, stands there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from lift3d.domain.camera import ImageSize
from lift3d.domain.lifted import LiftedView
from lift3d.domain.records import computed_words
from lift3d.errors import ConfigError, SceneError
from lift3d.results.colours import UNKNOWN_GREY, Picture, SceneColours, to_bytes
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.render.path import lift_along_path
from lift3d.results.render.video_file import write_video
from lift3d.storage.whole_file import check_place

SUFFIX = ".mp4"
# Smaller panels are enlarged by a whole factor: players blur what they enlarge, and small windows hide what matters.
_LEAST_PANEL_HEIGHT = 360
# About what ten minutes take at 30 per second; each is lifted and stored.
_MOST_FRAMES = 20_000
_MOST_FPS = 240
CAPTION_HEIGHT = 28
_CAPTION_INK, _CAPTION_PAPER = 230, 24
# Kinds whose neighbouring cells have nothing between them.
_DISCRETE = ("labels", "masks")

Frame = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, slots=True)
class RenderExtent:
    """How many cameras along the path through the scene's own (0: those that were lifted), and frames per second."""

    frames: int = 120
    fps: int = 24

    def __post_init__(self) -> None:
        if self.frames != 0 and not 2 <= self.frames <= _MOST_FRAMES:
            raise ConfigError(f"--frames is {self.frames}; expected 0 (the views lifted) or 2 to {_MOST_FRAMES}.")
        if not 1 <= self.fps <= _MOST_FPS:
            raise ConfigError(f"--fps is {self.fps}; expected 1 to {_MOST_FPS}.")


@dataclass(frozen=True, slots=True)
class Rendered:
    """What was written: frames of panels side by side; ``computed`` says in words what was lifted for it.

    ``unseen_count`` frames have a camera that sees nothing that a source saw.
    """

    out: Path
    title: str
    frame_count: int
    size: ImageSize
    fps: int
    panels: tuple[str, ...]
    unseen_count: int
    computed: str

    def to_text(self) -> str:
        """Return the lines to print."""
        unseen = f"\n{self.unseen_count} frames are grey: no source sees what their cameras see"
        return (
            f"{self.title}: {self.frame_count} frames of {self.size.height}×{self.size.width}, "
            f"{self.frame_count / self.fps:.1f} s at {self.fps} per second; {' | '.join(self.panels)}\n"
            f"computed {self.computed}{unseen if self.unseen_count else ''}\n{'video':8s} {self.out}"
        )


def render_video(base: LiftedScene, out: Path, extent: RenderExtent) -> Rendered:
    """Write a video of a lifted scene, in colours that are those of the run and never change.

    Memory is that of one stored part (64 views) of everything shown and one frame; lifting takes what a run takes.
    Plug-ins and files of operators are loaded if they are ``base.trusted``, see ``lift_along_path``.
    """
    if out.suffix.lower() != SUFFIX or out.is_dir():
        raise ConfigError(f"'{out}' is no name of a video; expected a file that ends in {SUFFIX}.")
    if not base.targets and not extent.frames:
        raise SceneError(
            f"No view of '{base.name}' was lifted by '{base.lifter}': no source sees what its cameras see."
        )
    # Known before hours are spent on lifting.
    check_place(out)
    if not extent.frames:
        targets, computed = base.targets, "nothing, all was lifted already"
        panels = [_Panel("lifted", base, base.colours)]
        # Novel cameras of a run have no 2D answer to stand beside.
        if base.plain(targets[0]) is not None:
            panels.insert(0, _Panel("2D", base, base.colours, is_plain=True))
    else:
        path = lift_along_path(base, extent.frames)
        targets, panels = path.targets, [_Panel("lifted", path.answers, base.colours)]
        if path.pictures is not None:
            panels.insert(0, _Panel("picture", path.pictures, path.pictures.colours))
        # Scores belong to runs, of which this is none.
        counts = {kind: count for kind, count in path.computed.items() if kind != "scores"}
        computed = computed_words(counts) or "nothing, all was committed"
    count, size = write_video(out, _frames(panels, targets), extent.fps)
    captions, unseen = tuple(panel.caption for panel in panels), {*targets} - {*panels[-1].scene.targets}
    return Rendered(out, base.title, count, size, extent.fps, captions, len(unseen), computed)


@dataclass(frozen=True, eq=False)
class _Panel:
    """One of the pictures that stand side by side: of what, in which colours, lifted or plain."""

    caption: str
    scene: LiftedScene
    colours: SceneColours
    is_plain: bool = False

    def view(self, target: str) -> LiftedView | None:
        if self.is_plain:
            return self.scene.plain(target)
        return self.scene.view(target) if target in self.scene.targets else None


def _frames(panels: Sequence[_Panel], targets: Sequence[str]) -> Iterator[Frame]:
    scene = panels[-1].scene
    size = _panel_size(scene.view(scene.targets[0]))
    caption = np.concatenate([_caption(panel.caption, size.width) for panel in panels], axis=1)
    for target in targets:
        drawn = [_drawn(panel, target, size) for panel in panels]
        yield np.concatenate([caption, np.concatenate(drawn, axis=1)])


def _panel_size(view: LiftedView) -> ImageSize:
    """Return the size of every panel: that of the view or of its answer, the larger, enlarged by a whole factor."""
    height, width = view.camera.size.height, view.camera.size.width
    finer = max(1, round(view.prediction.values.shape[-2] / height))
    factor = finer * max(1, -(-_LEAST_PANEL_HEIGHT // (height * finer)))
    return ImageSize(height * factor, width * factor)


def _drawn(panel: _Panel, target: str, size: ImageSize) -> Frame:
    """Return a panel's picture in the middle of its place, as large as fits; grey around it, or all of it."""
    place = np.full((size.height, size.width, 3), UNKNOWN_GREY, np.float32)
    view = panel.view(target)
    if view is not None:
        fitted = _fitted(panel.colours.picture(view.prediction), view, size)
        top, left = (size.height - fitted.shape[0]) // 2, (size.width - fitted.shape[1]) // 2
        place[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return to_bytes(place)


def _fitted(picture: Picture, view: LiftedView, size: ImageSize) -> Picture:
    # The camera's proportions: a grid of cells may have others.
    scale = min(size.height / view.camera.size.height, size.width / view.camera.size.width)
    height, width = (max(1, round(side * scale)) for side in (view.camera.size.height, view.camera.size.width))
    method = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_LINEAR
    if view.prediction.kind in _DISCRETE:
        method = cv2.INTER_NEAREST_EXACT
    fitted: Picture = cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=method)
    return fitted


def _caption(words: str, width: int) -> Frame:
    bar = np.full((CAPTION_HEIGHT, width, 3), _CAPTION_PAPER, np.uint8)
    ink = (_CAPTION_INK,) * 3
    cv2.putText(bar, words, (8, CAPTION_HEIGHT - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.55, ink, 1, cv2.LINE_AA)
    return bar
