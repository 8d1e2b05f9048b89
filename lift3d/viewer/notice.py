"""What a browser sees while it waits: for a scene that is read, or for what takes seconds to be made."""

import contextlib
import threading
from collections.abc import Callable, Iterator

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
def rest_notice(page: Page, library: Library, name: str) -> Iterator[None]:
    """Say over a sketch how far reading the rest of the scene is, while the context lasts."""
    with working_notice(page, f"This is a first look at {name}.") as say:

        def tell(other: str, share: float) -> None:
            if other == name:
                say(f"All of it follows: {share:.0%} is read.")

        library.waiting.append(tell)
        try:
            yield
        finally:
            library.waiting.remove(tell)


@contextlib.contextmanager
def working_notice(page: Page, said: str) -> Iterator[Callable[[str], None]]:
    """Say over the scene, wherever the panel has been scrolled to, what is worked on while the context lasts.

    Yields what says how far that is.
    """
    if not isinstance(page, viser.ClientHandle):
        yield lambda more: None
        return
    note = page.add_notification(said, "", loading=True, with_close_button=False)
    page.flush()

    def say(more: str) -> None:
        # The browser may go meanwhile.
        with contextlib.suppress(RuntimeError):
            note.body = more

    try:
        yield say
    finally:
        note.remove()
