"""What generated pages have in common: the command that makes one again, tables, figures with intervals."""

import importlib.metadata
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lift3d.tables.rendering import NOTHING, text_table, to_markdown

_SIZES = ("image_height", "sources", "holdout")


def replayed_command(bench: str, recipe: Mapping[str, Any], *, lifters: Sequence[str] = ()) -> str:
    """Return the command, with folders of captures as CAPTURES: they lie elsewhere on every machine.

    Args:
        bench: Name of the command.
        recipe: What it measured.
        lifters: Those to name; none where the command's own are meant.
    """
    places = [f"CAPTURES/{Path(one).name}" if Path(one).is_dir() else shlex.quote(one) for one in recipe["scenes"]]
    options = [f"--{kind} {shlex.quote(name)}" for kind in ("operator", "plugin") for name in recipe[f"{kind}s"]]
    options += [f"--lifter {shlex.quote(name)}" for name in lifters]
    sizes = [f"--{name.replace('_', '-')} {recipe[name]}" for name in _SIZES if recipe[name] is not None]
    return " ".join(["lift3d bench", bench, *places, *options, *sizes])


def filled_head(template: str, command: str, **fields: object) -> str:
    """Return the head of a page with the command, today's date and the version of lift3d filled in."""
    version = importlib.metadata.version("lift3d")
    return template.format(command=command, date=datetime.now(UTC).date().isoformat(), version=version, **fields)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], label_count: int = 1) -> str:
    """Return rows of text as a Markdown table, of which the first ``label_count`` columns are labels."""
    return to_markdown(text_table(columns, list(rows), label_count))


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def bracketed(mean: float, low: float | None, high: float | None, digits: int = 3) -> str:
    """Return a difference with its interval."""
    # Adding 0 takes the sign from a rounded −0.
    texts = [NOTHING if one is None else f"{round(one, digits) + 0:+.{digits}f}" for one in (mean, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"
