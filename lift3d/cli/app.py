"""The command line. Light: what a command needs is imported when it is called."""

import sys
from collections.abc import Sequence

import click

from lift3d.cli.commands.bench import bench
from lift3d.cli.commands.options import Exit, Group, say
from lift3d.cli.commands.results import export, ingest, render, report, view
from lift3d.cli.commands.run import run
from lift3d.cli.commands.store import compare, doctor, fsck, gc, status, tables
from lift3d.cli.commands.train import train, train_tiny
from lift3d.cli.termination import ended_by_kill
from lift3d.errors import ConfigError, Lift3dError

_COMMANDS = (
    *(run, ingest, status, tables, compare, report, view, render, export),
    *(fsck, gc, doctor, train, train_tiny, bench),
)


@click.group(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100},
    epilog="Exit codes: 0 all, 1 error, 2 usage, 3 partial, 4 regression, 130 interrupted, 143 terminated.",
)
def app() -> None:
    """Lift any 2D vision model to 3D-consistent answers on any posed multi-view scene."""


for _command in _COMMANDS:
    app.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; our own errors become one message and an exit code."""
    try:
        with ended_by_kill():
            app(arguments, prog_name="lift3d")
    except ConfigError as error:
        say(f"error: {error}", fg="red", err=True)
        sys.exit(Exit.USAGE)
    except Lift3dError as error:
        say(f"error ({error.reason}): {error}", fg="red", err=True)
        sys.exit(Exit.ERROR)
