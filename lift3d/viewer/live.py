"""What follows a browser's eye: one worker that draws when it has moved, and again, finer, when it stands still."""

import logging
import threading
from collections.abc import Callable

from lift3d.viewer.library import ViewerEnd

# Pixels of a picture's height while the eye moves, and at most when it rests.
MOVING_HEIGHT, RESTING_HEIGHT = 512, 1080
_RESTS_AFTER_S = 0.3
_ENDS_WITHIN_S = 5.0
_LOG = logging.getLogger(__name__)


class Follower:
    """Calls ``draw`` with a height, and ``rest`` when nothing has moved for a moment; never twice at once."""

    def __init__(self, draw: Callable[[int], None], rest: Callable[[], None]) -> None:
        self._draw, self._rest = draw, rest
        self._moved, self._is_over = threading.Event(), False
        self._thread = threading.Thread(target=self._follow, name="lift3d-view", daemon=True)
        self._thread.start()

    def moved(self) -> None:
        """Draw soon."""
        self._moved.set()

    def stop(self) -> None:
        """End; a picture that is being drawn is waited for: PyTorch's code does not survive the end of Python."""
        self._is_over = True
        self._moved.set()
        self._thread.join(_ENDS_WITHIN_S)

    def _follow(self) -> None:
        while True:
            self._moved.wait()
            self._moved.clear()
            if self._is_over:
                return
            try:
                self._draw(MOVING_HEIGHT)
                if not self._moved.wait(_RESTS_AFTER_S):
                    self._draw(RESTING_HEIGHT)
                    self._rest()
            except ViewerEnd:
                return
            except Exception:
                # What is drawn may be changed meanwhile, or the browser be gone: the next picture may do.
                if not self._is_over:
                    _LOG.exception("A picture of the viewer was not drawn")
