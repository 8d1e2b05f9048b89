"""The commands and examples of the documentation: fences of code, and commands within sentences."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# What commands write: their commands name captures and hours that no test has.
GENERATED = {
    *("fault-matrix.md", "outside-cases.md", "results.md", "results-consistency.md"),
    *("results-operators.md", "results-recognition.md", "results-calibration.md", "results-geometry.md"),
    *("results-probe3d.md", "results-finetune.md", "results-reliability.md", "fuzzing.md", "kills.md", "scale.md"),
    *("results-ensemble.md", "results-learning.md", "soak.md", "storage.md", "systems.md"),
}
SHELL = ("sh", "bash")
# Languages that are no commands; a fence without a language may hide one.
OTHER = ("text", "json", "yaml", "toml", "console")

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`(lift3d [^`\n]+)`(?!`)")
_TITLE = re.compile(r'title="([^"]+)"')
_ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=")


@dataclass(frozen=True)
class Fence:
    """One fence of code: its page and first line, language and title (a file to save it as) if there are any."""

    page: str
    line: int
    language: str
    title: str
    text: str

    def commands(self) -> list[str]:
        """The lines of a shell fence, continued ones joined, without those that are comments alone."""
        joined = self.text.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """All pages that people write, from the root."""
    written = [path for path in sorted(DOCS.rglob("*.md")) if path.name not in GENERATED]
    beside = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CONVENTIONS.md", "infra/README.md"]
    return [*beside, *(path.relative_to(ROOT).as_posix() for path in written)]


def fences(page: str) -> list[Fence]:
    """The fences of a page in their order."""
    text, found = (ROOT / page).read_text(encoding="utf-8"), []
    for match in _FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = _TITLE.search(rest)
        lines = [line.removeprefix(match["indent"]) for line in match["text"].splitlines(keepends=True)]
        line = text.count("\n", 0, match.start()) + 2
        found.append(Fence(page, line, language, title[1] if title else "", "".join(lines)))
    return found


def shell_lines(*shown: str) -> list[tuple[Fence, str]]:
    """The commands in fences of sh of pages, each with its fence."""
    return [
        (fence, line)
        for page in shown
        for fence in fences(page)
        if fence.language in SHELL
        for line in fence.commands()
    ]


def inline_commands(page: str) -> list[str]:
    """Commands of ours within sentences."""
    outside = _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return [found.strip() for found in _INLINE.findall(outside)]


def simple_commands(line: str) -> list[list[str]]:
    """The words of each command of a line, split at ``&&``, ``|``, ``;`` and brackets; assignments are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;()<>")
    lexer.whitespace_split = True
    # In a shell only a word that begins with it is a comment; here, anything after it would be.
    lexer.commenters = ""
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word.startswith("#"):
            break
        if set(word) <= set("&|;()"):
            commands.append([])
        elif commands[-1] or not _ASSIGNMENT.match(word):
            commands[-1].append(word)
    return [words for words in commands if words]
