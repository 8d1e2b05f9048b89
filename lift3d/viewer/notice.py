"""What a browser sees that comes before a scene has been read."""

import contextlib
from collections.abc import Iterator

import viser

from lift3d.viewer import texts
from lift3d.viewer.library import Library


@contextlib.contextmanager
def reading_notice(client: viser.ClientHandle, library: Library) -> Iterator[None]:
    """Say in the panel how far reading is, while the context lasts and something is read."""
    note: viser.GuiHtmlHandle | None = None

    def tell(name: str, share: float) -> None:
        nonlocal note
        if note is None:
            note = client.gui.add_html("")
        note.content = texts.reading(name, share)

    library.waiting.append(tell)
    try:
        yield
    finally:
        library.waiting.remove(tell)
        if note is not None:
            note.remove()
