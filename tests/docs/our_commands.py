"""Parse a line of ours as the command line would, without running it."""

import click

from lift3d.cli.app import app


def check_command(words: list[str]) -> None:
    """Parse the words after ``lift3d``; what the command line refuses is refused here.

    Raises:
        Exception: That of the parser, if a command or an option does not exist, lacks its value, or is missing.
    """
    command, context, rest = app, None, list(words)
    try:
        context = command.make_context("lift3d", rest)
        while isinstance(command, click.Group):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
    except click.exceptions.Exit as end:  # --help says what it says and ends
        if end.exit_code:
            raise


def option_names(words: list[str]) -> set[str] | None:
    """Return the options of the command that the words begin with; None if it is a group of commands."""
    command, context = app, click.Context(app)
    for word in words:
        if not isinstance(command, click.Group):
            break
        _, command, _ = command.resolve_command(context, [word])
        context = click.Context(command, parent=context)
    if isinstance(command, click.Group):
        return None
    return {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
