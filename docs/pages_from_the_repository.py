"""A hook of mkdocs: pages that are written elsewhere in the repository, and tables of the generated pages.

- Files of the repository's root are pages, too; their links lead to pages where there are some.
- The reference of the command line is what the commands themselves say.
- A line ``<!-- table PAGE.md: HEADING -->`` stands for the first table under that heading, so that no figure is typed.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from lift3d.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
# Page → file of the repository.
PAGES = {
    "architecture.md": "ARCHITECTURE.md",
    "conventions.md": "CONVENTIONS.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "servers.md": "infra/README.md",
}
COMMAND_LINE = "reference/command-line.md"

_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
# What is said of a page to those who read it in the repository.
_UNFILLED = re.compile(r"^\*Lines that begin with `:::`.*\n", re.MULTILINE)
_TABLE = re.compile(r"^<!-- table (\S+): (.+?) -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=with_page_links(text, source)))
    files.append(File.generated(config, COMMAND_LINE, content=command_line_page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Put tables of the generated pages where they are asked for, and lead links to the repository's files to pages."""
    filled = _UNFILLED.sub("", _TABLE.sub(lambda found: table_of(found[1], found[2]), markdown))
    return with_own_pages(filled, page.file.src_uri)


def with_own_pages(text: str, source: str) -> str:
    """Return a page of docs/, named from there, whose links to files that are pages, too, lead to these."""
    homes, folder = {file: page for page, file in PAGES.items()}, posixpath.dirname(source)

    def relinked(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, found[2]))
        if target not in homes:
            return found[0]
        return f"[{found[1]}]({posixpath.relpath(homes[target], folder or '.')}{found[3] or ''})"

    return _LINK.sub(relinked, text)


def with_page_links(text: str, source: str) -> str:
    """Return a file of the repository with links that hold in the site; of what is no page, the words stay.

    Args:
        text: Its content.
        source: Its path, from the root.
    """
    homes = {file: page for page, file in PAGES.items()}

    def relinked(found: re.Match[str]) -> str:
        words, path, anchor = found[1], found[2], found[3] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if target in homes:
            return f"[{words}]({homes[target]}{anchor})"
        if target.startswith("docs/"):
            return f"[{words}]({target.removeprefix('docs/')}{anchor})"
        return words

    return _LINK.sub(relinked, text)


def command_line_page() -> str:
    """Return the reference of the command line, from its own help."""
    sections = [f"## `{path}`\n\n```text\n{help_text}\n```\n" for path, help_text in _helps("lift3d", app)]
    return "# Command line\n\nWhat the commands say of themselves (`lift3d COMMAND --help`).\n\n" + "\n".join(sections)


def table_of(page: str, heading: str) -> str:
    """Return the first table under a heading of a generated page, and where it comes from.

    Raises:
        PluginError: If there is none: the page has been written anew and says something else now.
    """
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    tables = re.findall(r"(?:^\|.*\n)+", sections.get(heading, ""), re.MULTILINE)
    if not tables:
        raise PluginError(f"docs/{page} has no table under '{heading}'; its headings are {', '.join(sections)}.")
    return f"{tables[0]}\n*From [{heading}]({page}).*\n"


def _helps(path: str, command: click.Command, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Give what a command says of itself, then what those below it say."""
    context = command.make_context(path, [], parent=parent, resilient_parsing=True)
    yield context.command_path, command.get_help(context)
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        found = command.get_command(context, name)
        if found is not None:
            yield from _helps(name, found, context)
