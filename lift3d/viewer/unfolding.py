"""From a sketch to the whole scene, under the eyes of who looks at it, clicks and asks meanwhile."""

import threading
from dataclasses import replace

from lift3d.errors import Lift3dError
from lift3d.viewer import texts
from lift3d.viewer.eyes import first_eye, look
from lift3d.viewer.library import ViewerEnd
from lift3d.viewer.notice import rest_notice
from lift3d.viewer.scenery import Scenery
from lift3d.viewer.stage import Stage


def unfold_when_read(scenery: Scenery) -> None:
    """Show the whole scene when it has been read; until then a sketch of it can be looked at and asked."""
    if scenery.viewed.is_sketch:
        # Python waits for it when it ends: PyTorch's code would not survive that.
        threading.Thread(target=_unfold_when_read, args=(scenery, scenery.stage), name="lift3d-read").start()


def _unfold_when_read(scenery: Scenery, sketch: Stage) -> None:
    def is_wanted() -> bool:
        return scenery.stage is sketch and not scenery.is_over

    whole, trouble = None, ""
    try:
        with rest_notice(scenery.page, scenery.library, sketch.lifted.name):
            whole = scenery.library.stage_if(is_wanted, sketch.lifted)
    except ViewerEnd:
        return
    except (Lift3dError, RuntimeError) as error:
        trouble = texts.trouble(f"This is a first look at {sketch.lifted.name}; all of it cannot be read: {error}")
    with scenery.turn():
        if is_wanted() and trouble:
            scenery.panel.summary.content = trouble
        elif is_wanted() and whole is not None:
            unfold(scenery, whole)


def unfold(scenery: Scenery, whole: Stage) -> None:
    """Show all of what a sketch is shown of: from the same eye, through the same camera, asked the same."""
    old, sketch = scenery.stage, scenery.viewed
    through = -1
    if scenery.through >= 0:
        target = sketch.slices[scenery.through].target
        through = next((at for at, one in enumerate(whole.viewed.slices) if one.target == target), -1)
    scenery.stage, scenery.through = whole, through
    scenery.mode = scenery.mode.moved(sketch.cloud.xyz, whole.viewed.cloud.xyz)
    # How many views see a point was an estimate.
    most = max(1, int(whole.viewed.surface.views.max())) if len(whole.viewed.cloud) else 1
    shown = replace(scenery.choice.shown, least_views=min(scenery.choice.shown.least_views, most))
    scenery.choice = whole.fitting(replace(scenery.choice, shown=shown))
    scenery.read()
    scenery.draw()
    if whole.to_page is not old.to_page:
        # A sketch without points stood elsewhere.
        look(scenery.page, first_eye(whole.to_page, scenery.page))
