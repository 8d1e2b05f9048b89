"""What a browser sees that comes before a scene has been read."""

import contextlib
import threading
from collections.abc import Iterator

import viser

from lift3d.viewer import texts
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
