"""COLMAP's log, which goes to the terminal unless it is told not to."""

from collections.abc import Iterator
from contextlib import contextmanager

import pycolmap


@contextmanager
def quiet_colmap() -> Iterator[None]:
    """Keep COLMAP's log from the terminal: what matters comes back as a result or an exception."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before
