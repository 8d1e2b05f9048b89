"""What is said while one waits: on standard error, on a terminal, and nowhere where somebody wants it quiet."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Set where nothing but results is wanted.
QUIET = "LIFT3D_QUIET"


def message_console() -> "Console":
    """Return where progress and outcomes are told: standard error, or nowhere where somebody wants it quiet."""
    from rich.console import Console

    # Who forces colours, as CI does, has no terminal that takes bars back; who closed standard error has no stream.
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return Console(stderr=True, quiet=bool(os.environ.get(QUIET)), force_terminal=is_terminal)


def at_work(words: str) -> AbstractContextManager[object]:
    """Say on a terminal, and nowhere else, what goes on where nobody can tell how far it is."""
    from rich.file_proxy import FileProxy

    console = message_console()
    # Where a bar is shown already, it stands for what is done meanwhile.
    is_told = isinstance(sys.stderr, FileProxy) or not console.is_terminal
    return nullcontext() if is_told else console.status(words)


def loading(module: str = "torch") -> AbstractContextManager[object]:
    """Say on a terminal that packages are loaded, unless a module that takes seconds, of a cold disk more, is there."""
    return nullcontext() if module in sys.modules else at_work("loading packages")
