"""What ``kill`` does to a command: it ends as by Ctrl-C, in one line, whatever libraries would rather do."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lift3d.cli.commands.options import Exit

_SAID = b"\nterminated; what is committed stays\n"


@contextmanager
def ended_by_kill() -> Iterator[None]:
    """End the block by SIGTERM as an exception would: everything that has to be put away is."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except Exception as error:
        if not _is_of_prefect(error):
            raise
        os.write(2, _SAID)
        raise SystemExit(Exit.TERMINATED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    # Who is in more of a hurry than Ray and Prefect asks twice.
    signal.signal(number, signal.SIG_DFL)
    os.write(2, _SAID)
    raise SystemExit(Exit.TERMINATED)


def _is_of_prefect(error: BaseException | None) -> bool:
    """Whether Prefect, which listens to SIGTERM while flows run, began what Ray or another library made an error of."""
    while error is not None and type(error).__name__ != "TerminationSignal":
        error = error.__cause__ or error.__context__
    return error is not None
