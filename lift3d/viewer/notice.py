"""What a browser sees while it waits: for a scene that is read, or for what takes seconds to be made."""

import contextlib
import threading
from collections.abc import Iterator

import viser

from lift3d.viewer import texts
from lift3d.viewer.eyes import Page
from lift3d.viewer.library import Library


@contextlib.contextmanager
def reading_notice(client: viser.ClientHandle, library: Library) -> Iterator[None]:
    """Say in the panel how far reading is, while the context lasts and something is read."""
    note: viser.GuiHtmlHandle | None = None
    lock, is_over = threading.Lock(), False

    def tell(name: str, share: float) -> None:
        nonlocal note
        # Others read, too: they tell while this ends, and while the browser goes.
        with lock, contextlib.suppress(RuntimeError):
            if not is_over:
                note = note or client.gui.add_html("")
                note.content = texts.reading(name, share)

    library.waiting.append(tell)
    try:
        yield
    finally:
        library.waiting.remove(tell)
        with lock, contextlib.suppress(RuntimeError):
            is_over = True
            if note is not None:
                note.remove()


@contextlib.contextmanager
def working_notice(page: Page, said: str) -> Iterator[None]:
    """Say over the scene, wherever the panel has been scrolled to, what is worked on while the context lasts."""
    if not isinstance(page, viser.ClientHandle):
        yield
        return
    note = page.add_notification(said, "", loading=True, with_close_button=False)
    page.flush()
    try:
        yield
    finally:
        note.remove()
