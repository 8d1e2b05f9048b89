"""What commands of benches have in common: a page into a file, or figures as JSON."""

import json
from pathlib import Path

import click
from pydantic_core import to_jsonable_python

from lift3d.errors import ConfigError

PATH = click.Path(path_type=Path)
OUT = click.option("--out", type=PATH, help="Markdown file to write.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def present_figures(figures: object, text: str, out: Path | None, as_json: bool) -> None:
    """Write the page of a bench if a file is named, and print it or its figures."""
    try:
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Cannot write '{out}': {error}. Name a file in a folder you may write to.") from error
    click.echo(json.dumps(to_jsonable_python(figures), indent=1) if as_json else text)
