"""The command line. Light: what a command needs is imported when it is called."""

import codecs
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from lift3d.cli.commands.bench import bench
from lift3d.cli.commands.groups import Group
from lift3d.cli.commands.options import Exit, say
from lift3d.cli.commands.results import export, ingest, masks, query, questions, render, report, tracks, view
from lift3d.cli.commands.run import demo, run
from lift3d.cli.commands.store import compare, doctor, fsck, gc, leaderboard, status, tables
from lift3d.cli.commands.train import finetune, train, train_tiny
from lift3d.errors import ConfigError, Lift3dError

_SAID = b"\nterminated; what is committed stays\n"
_COMMANDS = (
    *(demo, run, ingest, status, tables, compare, leaderboard, report, view, query, render, export, masks, questions),
    *(tracks, fsck, gc, doctor, train, finetune, train_tiny, bench),
)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100},
    epilog="Exit codes: 0 all, 1 error, 2 usage, 3 partial, 4 regression, 130 interrupted, 143 terminated.",
)
@click.version_option(package_name="lift3d")
@click.option("--quiet", is_flag=True, help="Results and errors alone; may stand anywhere.")
def app(quiet: bool) -> None:
    """Lift any 2D vision model to 3D-consistent answers on any posed multi-view scene."""
    if quiet:
        from lift3d.messages import QUIET

        os.environ[QUIET] = "1"


for _command in _COMMANDS:
    app.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; our own errors become one message and an exit code. ``--quiet`` may stand anywhere."""
    _take_any_text()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--quiet" in given:
        given.remove("--quiet")
        given.insert(0, "--quiet")
    try:
        with _ended_by_kill():
            app(given, prog_name="lift3d")
    except ConfigError as error:
        say(f"error: {error}", fg="red", err=True)
        sys.exit(Exit.USAGE)
    except Lift3dError as error:
        say(f"error ({error.reason}): {error}", fg="red", err=True)
        sys.exit(Exit.ERROR)


def _take_any_text() -> None:
    """Let standard output and error take signs and names that their encoding lacks: as codes, as UTF-8 of ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if is_ascii else None, errors="backslashreplace")


@contextmanager
def _ended_by_kill() -> Iterator[None]:
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
