"""The figures of ``lift3d bench curves`` as markdown."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from lift3d.bench.curves import ALL
from lift3d.bench.lifters import by_operator
from lift3d.bench.pages import bracketed, filled_head, markdown_table, number, replayed_command
from lift3d.errors import ConfigError

HEAD = """# Fidelity over taps and over sources

Generated; do not edit. Made by

```
{command}
```

on {date} with lift3d {version}. Fidelity is the mean cosine to the operator's own features of the true view, at views
that are no source, on up to {cells} seeded cells per target that the sources cover; tables give 1 − cos. `heldout-N`:
every N-th view is a target and no source of any; `leave-one-out`, for captures of few views: every view is a target and
not its own source. PSNR is of all valid pixels of the full picture, holes filled from the nearest covered pixel.
Brackets are 95 % intervals of the paired bootstrap over views.
"""
TAPS = """## Taps per cell

{sources} sources. `all` is as many taps as there are candidates at any cell of the target: on average over targets
{candidates}. Colours under a guided lifter are those of the lifted picture, whatever the taps.
"""
JUDGEMENT = """## What {taps} taps lose

{verdict} A loss is relative to the fidelity of all taps; a negative one is a gain.
"""
SOURCES = """## Sources per target

Four taps for each. All counts are compared on the cells that are covered with every one of them; the share of the
valid cells that each covers is below.
"""

Rows = Sequence[Mapping[str, Any]]


def picture_beside(out: Path) -> Path:
    """Return where the picture of a page goes.

    Raises:
        ConfigError: If the page would be written over it.
    """
    picture = out.with_suffix(".png")
    if picture == out:
        raise ConfigError(f"The page '{out}' has the name of its picture. Name a markdown file, e.g. curves.md.")
    return picture


def page(figures: Mapping[str, Any], picture: Path | None = None) -> str:
    """Return the figures as Markdown.

    Args:
        figures: What ``curves.measure`` found.
        picture: Of the same figures, in the folder of the page; none is shown if None.
    """
    recipe, taps = figures["recipe"], [*map(str, figures["tap_counts"]), ALL]
    counts = [str(count) for count in sorted({one for scene in figures["scenes"] for one in scene["source_counts"]})]
    command = replayed_command("curves", recipe, lifters=recipe["lifters"][-1:])
    head = filled_head(HEAD, command, cells=figures["cells_per_target"])
    notes = "".join(f"\n{note}\n" for scene in figures["scenes"] for note in _notes(scene, figures))
    rows = [row for scene in figures["scenes"] for row in scene["rows"]]
    if not rows:
        return f"{head}{notes}\nNothing to compare.\n"
    candidates = [
        f"{fmean(row['candidates'] for row in found):.0f} ({name})" for name, found in by_operator(rows).items()
    ]
    parts = [
        head + notes,
        *([] if picture is None else [f"![Fidelity over taps and over sources]({picture.name})\n"]),
        TAPS.format(sources=recipe["sources"], candidates=", ".join(candidates)),
        *_tables(figures, "taps", taps),
        JUDGEMENT.format(taps=figures["judged"]["taps"], verdict=verdict(figures)),
        _loss_table(figures["losses"]),
        SOURCES,
        *_tables(figures, "sources", counts),
        _covered_table(figures, counts),
    ]
    return "\n".join(parts)


def verdict(figures: Mapping[str, Any]) -> str:
    """Say whether the judged number of taps loses less than the limit, and where it loses most."""
    losses, limit = figures["losses"], figures["judged"]["limit_percent"]
    found = [one["fidelity_percent"] for one in losses]
    within = [one for one in found if one["mean"] < limit]
    surely = [one for one in within if one["high"] is not None and one["high"] < limit]
    worst = max(losses, key=lambda one: one["fidelity_percent"]["mean"])
    answer = "Yes" if len(within) == len(losses) else "Not everywhere"
    return (
        f"Do {figures['judged']['taps']} taps lose less than {limit:g} % of the fidelity of all taps? {answer}: in "
        f"{len(within)} of {len(losses)} cases (scene, operator, lifter), in {len(surely)} with the whole interval "
        f"below the limit. The most is {_loss(worst['fidelity_percent'])} % "
        f"({worst['scene']}, {worst['operator']}, {worst['lifter']})."
    )


def _notes(scene: Mapping[str, Any], figures: Mapping[str, Any]) -> Iterator[str]:
    """Say where a scene is measured with less than was asked for."""
    asked = max(*figures["source_counts"], figures["recipe"]["sources"])
    if scene["available_sources"] < asked:
        counts = ", ".join(map(str, scene["source_counts"]))
        yield (
            f"{scene['scene']} ({scene['protocol']}) has {scene['available_sources']} views that may be sources, of "
            f"{asked} asked for: taps are measured with {scene['sources']} sources, sources at {counts}."
        )
    if scene["skipped"]:
        yield f"Skipped of {scene['scene']}: " + "; ".join(f"{one} ({why})" for one, why in scene["skipped"]) + "."


def _groups(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, Rows]]:
    """Give scene with protocol, operator and rows."""
    for scene in figures["scenes"]:
        for operator, rows in by_operator(scene["rows"]).items():
            yield f"{scene['scene']}, {scene['protocol']}, {len(rows)} views", operator, rows


def _tables(figures: Mapping[str, Any], sweep: str, keys: Sequence[str]) -> list[str]:
    """Return the table of errors, and that of PSNR if there are pictures."""
    errors, pictures = [], []
    for place, operator, rows in _groups(figures):
        for lifter in rows[0]["taps"][ALL]:
            found = [[row[sweep][key][lifter] for row in rows if key in row[sweep]] for key in keys]
            start = [place, operator, lifter]
            errors.append([*start, *(_mean([1 - one["fidelity"] for one in at], 4) for at in found)])
            if "psnr" in rows[0]["taps"][ALL][lifter]:
                pictures.append([*start, *(_mean([one["psnr"] for one in at], 2) for at in found)])
    columns = ["scene", "operator", "lifter", *keys]
    parts = [f"1 − cos over {sweep}:\n\n{markdown_table(columns, errors, 3)}\n"]
    return [*parts, f"PSNR in dB over {sweep}:\n\n{markdown_table(columns, pictures, 3)}\n"] if pictures else parts


def _loss_table(losses: Rows) -> str:
    columns = ["scene", "operator", "lifter", "fidelity lost, %", "PSNR lost, dB"]
    rows = [
        [
            f"{one['scene']}, {one['views']} views",
            one["operator"],
            one["lifter"],
            _loss(one["fidelity_percent"]),
            _loss(one["psnr_db"]) if "psnr_db" in one else "–",
        ]
        for one in losses
    ]
    return markdown_table(columns, rows, 3) + "\n"


def _covered_table(figures: Mapping[str, Any], counts: Sequence[str]) -> str:
    def covered(rows: Rows, key: str) -> str:
        return _mean([row["covered_by_sources"][key] for row in rows if key in row["sources"]], 3)

    rows = [[place, operator, *(covered(found, key) for key in counts)] for place, operator, found in _groups(figures)]
    return f"Share of valid cells covered over sources:\n\n{markdown_table(['scene', 'operator', *counts], rows, 2)}\n"


def _mean(values: Sequence[float], digits: int) -> str:
    return number(fmean(values) if values else None, digits)


def _loss(loss: Mapping[str, Any]) -> str:
    return bracketed(loss["mean"], loss["low"], loss["high"])
