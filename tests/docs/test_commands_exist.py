"""Every command that a page shows exists, with its options, and so does every file of the repository that it names."""

import re

import click
import pytest

from lift3d.cli.app import app
from tests.docs.elsewhere import ELSEWHERE
from tests.docs.fences import OTHER, ROOT, SHELL, fences, inline_commands, pages, shell_lines, simple_commands

PAGES = pages()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def check_command(words: list[str]) -> None:
    """Parse the words after ``lift3d`` without running them; what the command line refuses is refused here."""
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


def check_line(line):
    """Refuse a shell line with a command or an option that there is not."""
    for words in simple_commands(line):
        program = words[0].rpartition("/")[2]
        if program == "lift3d":
            check_command([word for word in words[1:] if word not in ("<", ">")])
        elif program == "make":
            assert {word for word in words[1:] if "=" not in word} <= TARGETS, f"{words}: targets are {sorted(TARGETS)}"
        else:
            assert program in ELSEWHERE, f"'{program}' is neither ours nor in tests/docs/elsewhere.py: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse_and_examples_compile(page):
    for fence, line in shell_lines(page):
        try:
            check_line(line)
        except Exception as error:
            raise AssertionError(f"{fence}: {line!r} is refused: {error}") from error
    for fence in fences(page):
        if fence.language == "python":
            compile(fence.text, str(fence), "exec")
        elif fence.language not in SHELL:
            assert fence.language in ("", *OTHER), f"{fence}: unknown language '{fence.language}'"
            hidden = re.findall(r"^\s*(?:\$ )?(?:lift3d|make|prefect|ray) .*", fence.text, re.MULTILINE)
            assert not hidden, f"{fence}: commands belong into a fence of sh: {hidden}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_exist(page):
    for line in inline_commands(page):
        words = re.findall(r"[^\s,;()…]+", line)[1:]
        if words and words[0].isupper():  # lift3d COMMAND --help
            continue
        names = [word for word in words if not word.startswith("-")]
        options = option_names(names)
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options is None or given <= options, f"{page}: `{line}` has no {given - options}"


def test_every_program_of_others_is_shown_somewhere():
    shown = {words[0].rpartition("/")[2] for _, line in shell_lines(*PAGES) for words in simple_commands(line)}
    assert set(ELSEWHERE) <= shown, f"no page shows {set(ELSEWHERE) - shown} any more"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lift3d ruin desk/", "No such command"),
        ("lift3d run desk/ --operators rgb", "No such option"),
        ("lift3d tables", "Which store"),
        ("lift3d run desk/ --sources many", "valid int"),
        ("lift3d bench nothing", "No such command"),
        ("X=1 lift3d status a | lift3d export a", "lift3d export a scene.ply"),
        ("make coffee", "targets are"),
        ("coffee --black", "neither ours"),
    ],
)
def test_what_does_not_exist_is_refused(line, said):
    with pytest.raises(Exception, match=said):
        check_line(line)
