"""The page of a leaderboard: a table that is sorted by a click, and its lines to take along."""

import base64
from pathlib import Path

from lift3d.errors import ConfigError
from lift3d.report.html import page, write_page
from lift3d.results.scores.leaderboard import LEGEND, Leaderboard
from lift3d.storage.whole_file import whole
from lift3d.tables.rendering import to_markdown

SUFFIXES = (".html", ".csv", ".parquet", ".md")


def write_leaderboard(board: Leaderboard, out: Path) -> None:
    """Write a leaderboard in the form that the file's name says; ConfigError if it says none, or cannot be written."""
    if out.suffix == ".html":
        write_page(out, leaderboard_page(board))
    elif out.suffix == ".csv":
        write_page(out, board.to_csv().encode())
    elif out.suffix == ".md":
        write_page(out, f"{to_markdown(board.table())}\n\n{LEGEND}\n".encode())
    elif out.suffix == ".parquet":
        try:
            with whole(out) as partial:
                board.frame.to_parquet(partial, index=False)
        except OSError as error:
            raise ConfigError(f"Cannot write '{out}': {error}. Name a file in a folder you may write to.") from error
    else:
        raise ConfigError(f"'{out}' is no name for a leaderboard; expected one that ends in {', '.join(SUFFIXES)}.")


def leaderboard_page(board: Leaderboard) -> bytes:
    """Return the page; it opens offline, and holds its own lines as CSV."""
    csv = base64.b64encode(board.to_csv().encode("utf-8", "replace")).decode()
    content = {"title": "Leaderboard", "table": board.table(), "legend": LEGEND, "csv": f"data:text/csv;base64,{csv}"}
    return page("leaderboard.html.jinja", content)
