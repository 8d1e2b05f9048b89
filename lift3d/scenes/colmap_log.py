"""pycolmap without what it does to the process: it takes over SIGTERM when it is imported, and logs to the terminal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_terminate = signal.getsignal(signal.SIGTERM)

import pycolmap as pycolmap  # noqa: E402

if _terminate is not None and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, _terminate)


@contextmanager
def quiet_colmap() -> Iterator[None]:
    """Keep COLMAP's log from the terminal: what matters comes back as a result or an exception."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before
