"""Parse a line of ours as the command line would, without running it."""

import typer
from typer.main import get_command

from lift3d.cli.app import app


def check_command(words: list[str]) -> None:
    """Parse the words after ``lift3d``; what the command line refuses is refused here.

    Raises:
        Exception: That of the parser, if a command or an option does not exist, lacks its value, or is missing.
    """
    command, context, rest = get_command(app), None, list(words)
    try:
        context = command.make_context("lift3d", rest)
        while hasattr(command, "resolve_command"):
            rest = [*context._protected_args, *context.args]
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
    except typer.Exit as end:  # --help says what it says and ends
        if end.exit_code:
            raise


def option_names(words: list[str]) -> set[str] | None:
    """Return the options of the command that the words begin with; None if it is a group of commands."""
    command, context = get_command(app), None
    for word in words:
        if not hasattr(command, "resolve_command"):
            break
        context = command.make_context(word, [], parent=context, resilient_parsing=True)
        _, command, _ = command.resolve_command(context, [word])
    if hasattr(command, "resolve_command"):
        return None
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
