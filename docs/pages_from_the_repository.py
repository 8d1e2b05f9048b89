"""A hook of mkdocs: pages that are written elsewhere in the repository, and tables of the generated pages.

- Files of the repository's root are pages, too; their links lead to pages where there are some.
- The reference of the command line is what the commands themselves say.
- A line ``<!-- table PAGE.md: HEADING -->`` stands for the first table under that heading, so that no figure is typed.
"""

import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# Page → file of the repository.
PAGES = {
    "architecture.md": "ARCHITECTURE.md",
    "conventions.md": "CONVENTIONS.md",
    "contributing.md": "CONTRIBUTING.md",
    "servers.md": "infra/README.md",
}
COMMAND_LINE = "reference/command-line.md"

_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_TABLE = re.compile(r"^<!-- table (\S+): (.+?) -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=with_page_links(text, source)))
    files.append(File.generated(config, COMMAND_LINE, content=command_line_page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Put tables of the generated pages where they are asked for."""
    return _TABLE.sub(lambda found: table_of(found[1], found[2]), markdown)


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
    """Return the reference of the command line, from typer's own help."""
    command = [sys.executable, "-m", "typer", "lift3d.cli.app", "utils", "docs", "--name", "lift3d"]
    made = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if made.returncode:
        raise PluginError(f"typer does not write the reference of the command line: {made.stderr[-2000:]}")
    return f"# Command line\n\nWhat the commands say of themselves (`lift3d COMMAND --help`).\n\n{_body(made.stdout)}"


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


def _body(text: str) -> str:
    # One title a page: the command's own name is a section as the others are.
    return re.sub(r"^# `lift3d`$", "## `lift3d`", text, flags=re.MULTILINE)
