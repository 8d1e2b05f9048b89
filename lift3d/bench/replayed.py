"""The command that makes a generated page again, as the page says it."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
