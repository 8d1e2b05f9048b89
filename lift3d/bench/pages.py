"""What generated pages have in common: the command that makes one again, tables, figures with intervals."""

import importlib.metadata
import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from lift3d.config import Recipe
from lift3d.tables.comparison import interval
from lift3d.tables.rendering import NOTHING, text_table, to_markdown

_SIZES = ("image_height", "sources", "holdout")


def replayed_command(bench: str, recipe: Recipe, lifters: Sequence[str] = (), **options: str | None) -> str:
    """Return the command of a bench, with folders of captures as CAPTURES: they lie elsewhere on every machine.

    Args:
        bench: Its name.
        recipe: What it ran.
        lifters: Those that are named.
        options: Of its own, without those that are None; an empty one is a flag.
    """
    places = [f"CAPTURES/{Path(one).name}" if Path(one).is_dir() else shlex.quote(one) for one in recipe.scenes]
    repeated = {"operator": recipe.operators, "plugin": recipe.plugins, "lifter": lifters}
    listed = [f"--{kind} {shlex.quote(name)}" for kind, names in repeated.items() for name in names]
    given = [(name, getattr(recipe, name)) for name in _SIZES if getattr(recipe, name) is not None]
    sizes = [f"--{name.replace('_', '-')} {value}" for name, value in given]
    named = {name: text for name, text in options.items() if text is not None}
    sizes += [f"--{name} {shlex.quote(text)}" if text else f"--{name}" for name, text in named.items()]
    return " ".join(["lift3d bench", bench, *places, *listed, *sizes])


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


@dataclass(frozen=True, slots=True)
class PairedInterval:
    """The mean of differences, with its 95 % interval (NaN for fewer than two)."""

    mean: float
    low: float
    high: float


def paired(differences: Float64[np.ndarray, " pair"]) -> PairedInterval:
    """Return the mean of differences, with its interval over the pairs."""
    return PairedInterval(float(differences.mean()), *interval(differences))


def bracketed(found: PairedInterval, digits: int = 3) -> str:
    """Return a difference with its interval."""
    ends = (found.mean, found.low, found.high)
    # Adding 0 takes the sign from a rounded −0.
    texts = [NOTHING if math.isnan(one) else f"{round(one, digits) + 0:+.{digits}f}" for one in ends]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"
