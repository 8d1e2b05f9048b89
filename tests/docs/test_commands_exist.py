"""Every command that a page shows exists, with its options, and so does every file of the repository that it names."""

import re

import pytest

from tests.docs.elsewhere import ELSEWHERE, reason_elsewhere
from tests.docs.fences import OTHER, ROOT, SHELL, fences, fences_of, inline_commands, pages, simple_commands
from tests.docs.our_commands import check_command, option_names

PAGES = pages()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def check_line(line):
    """Refuse a shell line with a command or an option that there is not."""
    for words in simple_commands(line):
        program = words[0].rpartition("/")[2]
        if program == "lift3d":
            check_command([word for word in words[1:] if word not in ("<", ">")])
        elif program == "make":
            assert {word for word in words[1:] if "=" not in word} <= TARGETS, f"{words}: targets are {sorted(TARGETS)}"
        else:
            assert reason_elsewhere(program), f"'{program}' is neither ours nor in tests/docs/elsewhere.py: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_parse(page):
    for fence in fences(page):
        for line in fence.commands() if fence.language in SHELL else ():
            try:
                check_line(line)
            except Exception as error:
                raise AssertionError(f"{fence}: {line!r} is refused: {error}") from error


@pytest.mark.parametrize("page", PAGES)
def test_no_command_hides_in_a_fence_without_a_language(page):
    for fence in fences(page):
        assert fence.language in (*SHELL, *OTHER, "python", ""), f"{fence}: unknown language '{fence.language}'"
        if fence.language in ("", *OTHER):
            hidden = [
                line for line in fence.text.splitlines() if re.match(r"\s*(\$ )?(lift3d|make|prefect|ray) ", line)
            ]
            assert not hidden, f"{fence}: commands belong into a fence of sh: {hidden}"


@pytest.mark.parametrize("page", PAGES)
def test_examples_compile(page):
    for fence in fences(page):
        if fence.language == "python":
            compile(fence.text, str(fence), "exec")


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
    shown = {
        words[0].rpartition("/")[2]
        for page in PAGES
        for fence in fences(page)
        if fence.language in SHELL
        for line in fence.commands()
        for words in simple_commands(line)
    }
    assert set(ELSEWHERE) <= shown, f"no page shows {set(ELSEWHERE) - shown} any more"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lift3d ruin desk/", "No such command"),
        ("lift3d run desk/ --operators rgb", "No such option"),
        ("lift3d tables", "Missing (option|parameter)"),
        ("lift3d run desk/ --sources many", "valid int"),
        ("lift3d bench nothing", "No such command"),
        ("X=1 lift3d status a | lift3d export a", "Missing (argument|parameter)"),
        ("make coffee", "targets are"),
        ("coffee --black", "neither ours"),
    ],
)
def test_what_does_not_exist_is_refused(line, said):
    with pytest.raises(Exception, match=said):
        check_line(line)


def test_fences_are_read_as_markdown_does():
    shown = 'a\n```sh title="x.sh"\nlift3d run a#b \\\n  --serial # why\n# alone\n```\n'
    text = f"{shown}\n    ```python\n    import lift3d\n    ```\n"
    shell, python = fences_of(text, "page.md")
    assert (shell.line, shell.language, shell.title) == (3, "sh", "x.sh")
    assert simple_commands(shell.commands()[0]) == [["lift3d", "run", "a#b", "--serial"]]
    assert len(shell.commands()) == 1
    assert python.text == "import lift3d\n"
