"""From a sketch to the whole scene, under the eyes of who looks at it, clicks and asks meanwhile."""

import contextlib
import threading

from lift3d.errors import Lift3dError
from lift3d.viewer import texts
from lift3d.viewer.notice import rest_notice
from lift3d.viewer.scenery import Scenery
from lift3d.viewer.stage import Stage


def unfold_when_read(scenery: Scenery) -> None:
    """Show the whole scene when it has been read; until then a sketch of it can be looked at and asked."""
    if scenery.viewed.is_sketch:
        arguments = (scenery, scenery.stage)
        threading.Thread(target=_unfold_when_read, args=arguments, name="lift3d-read", daemon=True).start()


def _unfold_when_read(scenery: Scenery, sketch: Stage) -> None:
    # The browser may go meanwhile.
    with contextlib.suppress(RuntimeError):
        try:
            with rest_notice(scenery.page, scenery.library, sketch.lifted.name):
                whole = scenery.library.stage(sketch.lifted)
        except Lift3dError as error:
            scenery.panel.summary.content += texts.trouble(str(error))
            return
        with scenery.turn():
            if scenery.stage is sketch and not scenery.is_over:
                unfold(scenery, whole)


def unfold(scenery: Scenery, whole: Stage) -> None:
    """Show all of what a sketch is shown of: from the same eye, through the same camera, asked the same."""
    sketch = scenery.viewed
    if scenery.through >= 0:
        target = sketch.slices[scenery.through].target
        scenery.through = next((at for at, one in enumerate(whole.viewed.slices) if one.target == target), -1)
    scenery.mode = scenery.mode.moved(sketch.cloud.xyz, whole.viewed.cloud.xyz)
    scenery.stage = whole
    scenery.choice = whole.fitting(scenery.choice)
    scenery.read()
    scenery.draw()
