"""What ``lift3d query`` prints: a line per query, of where it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift3d.cli.checks import stages
from lift3d.errors import ConfigError
from lift3d.messages import at_work
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.masks.scene_masks import scene_masks
from lift3d.results.query.ask import require_words
from lift3d.results.query.found import Found, check_found_name
from lift3d.tables.rendering import NOTHING, text_table, to_markdown

_COLUMNS = ("query", "position", "extent", "points", "likeness", "threshold", "look at")


@dataclass(frozen=True, slots=True)
class Answers:
    """What queries of one scene found."""

    title: str
    found: tuple[Found, ...]
    out: Path | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"scene": self.title, "found": [one.summary() for one in self.found]}

    def to_text(self) -> str:
        """Return a table."""
        lines = [_line(one.summary()) for one in self.found]
        source = self.found[0].threshold_source
        text = f"{self.title}\n\n{to_markdown(text_table(_COLUMNS, lines))}\nthreshold: {source}"
        return text if self.out is None else f"{text}\nwritten  {self.out}"


def ask(
    lifted: LiftedScene,
    words: Sequence[str],
    clicks: Sequence[str],
    rule: str,
    out: Path | None,
    onto: Path | None = None,
    *,
    on_masks: bool = False,
) -> Answers:
    """Ask a lifted scene, and write what was found if a file is named; ConfigError if nothing is asked."""
    if not words and not clicks:
        raise ConfigError("Nothing is asked. Give words, as in lift3d query STORE 'red mug', or --click VIEW,U,V.")
    if out is not None and len(words) + len(clicks) > 1:
        raise ConfigError(f"A file takes what one query found; got {len(words) + len(clicks)} queries. Ask one by one.")
    if onto is not None and (out is None or out.suffix.lower() != ".ply"):
        raise ConfigError(f"What is cut out of '{onto}' needs a name, --out FILE.ply; got {out}.")
    if out is not None:
        check_found_name(out)
    pixels = [parsed_click(one) for one in clicks]
    if words:
        require_words(lifted)
    for view, *_ in pixels:
        # Before the points are gathered: to be told of a slip is to take no time.
        lifted.view(view)
    with at_work("gathering points and their features"):
        asked = lifted.ask()
    if on_masks:
        with stages() as report:
            asked = asked.on(scene_masks(lifted, report=report))
    with at_work("comparing points with what is asked"):
        found = [asked.words(one, rule) for one in words] + [asked.click(*one, rule) for one in pixels]
    if out is not None and onto is not None:
        found[0].cut_out(onto, out)
    elif out is not None:
        found[0].write(out)
    return Answers(lifted.title, tuple(found), out)


def parsed_click(click: str) -> tuple[str, float, float]:
    """Return view, u and v of a click as the command line has it; ConfigError if it is none."""
    view, *numbers = click.rsplit(",", 2)
    try:
        u, v = map(float, numbers)
    except ValueError:
        raise ConfigError(f"--click takes VIEW,U,V, e.g. 0007,120,64; got '{click}'.") from None
    return view, u, v


def parsed_grid(grid: str) -> tuple[str, float]:
    """Return view and step of a grid as the command line has it; ConfigError if it is none."""
    view, *numbers = grid.rsplit(",", 1)
    try:
        (step,) = map(float, numbers)
        return view, step
    except ValueError:
        raise ConfigError(f"--grid takes VIEW,STEP, e.g. 0007,16; got '{grid}'.") from None


def _line(said: dict[str, Any]) -> list[str]:
    figures = (f"{said[name]:.3f}" for name in ("likeness", "threshold"))
    if not said["points"]:
        return [said["query"], "not found", NOTHING, "0", *figures, NOTHING]
    position, extent = (" ".join(f"{one:.3g}" for one in said[name]) for name in ("position", "extent"))
    seen = f"{said['view']} {said['u']:.0f},{said['v']:.0f}"
    return [said["query"], position, extent, str(said["points"]), *figures, seen]
