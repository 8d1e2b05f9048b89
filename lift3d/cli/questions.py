"""What ``lift3d questions`` is given, and what it prints: how many questions of each kind, why others are refused."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lift3d.cli.checks import stages
from lift3d.errors import ConfigError
from lift3d.messages import at_work
from lift3d.results.lifted_scene import LiftedScene
from lift3d.results.masks.files import masks_in
from lift3d.results.masks.naming import IGNORED, Names
from lift3d.results.masks.scene_masks import scene_masks
from lift3d.results.questions.scene_questions import check_name, check_views, scene_questions


def ask_about(
    opened: Callable[[], LiftedScene],
    out: Path,
    folder: Path | None,
    *,
    words: Sequence[str],
    labels: str | None,
    given: Sequence[str],
    ignored: Sequence[str],
    numbered: bool,
    views: Sequence[str],
    metres_per_unit: float | None,
    up: str | None,
) -> str:
    """Ask about a scene and write the questions; return the lines to print. ConfigError of options that say nothing."""
    check_name(out)
    names, direction = _names(words, labels, given), None if up is None else _direction(up)
    lifted = opened()
    check_views(lifted, views)
    with stages() as report:
        masks = scene_masks(lifted, masks=None if folder is None else masks_in(folder, lifted.compared), report=report)
    with at_work("measuring what is asked about"):
        found = scene_questions(
            masks,
            names=names,
            ignored=ignored or IGNORED,
            numbered=numbered,
            views=views or None,
            metres_per_unit=metres_per_unit,
            up=direction,
        )
    found.write(out)
    return f"{found.summary()}\nwritten  {out}"


def _names(words: Sequence[str], labels: str | None, given: Sequence[str]) -> Names:
    if sum(map(bool, (words, labels, given))) > 1:
        raise ConfigError("Masks are named in one way: by --word, by --labels, or by --name; got several.")
    if given:
        pairs = [one.partition("=") for one in given]
        wrong = next((pair for pair in pairs if not (pair[0].isdecimal() and pair[2].strip())), None)
        if wrong:
            raise ConfigError(f"--name takes ID=NAME, e.g. 3=mug; got '{''.join(wrong)}'.")
        return {int(number): name.strip() for number, _, name in pairs}
    return labels or tuple(words) or None


def _direction(up: str) -> list[float]:
    try:
        return [float(one) for one in up.split(",")]
    except ValueError:
        raise ConfigError(f"--up takes X,Y,Z, e.g. 0,0,1; got '{up}'.") from None
