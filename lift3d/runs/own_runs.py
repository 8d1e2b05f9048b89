"""Which runs this user began on this machine: what their recipes name, such as a capture's folder, he named himself.

A store that came from elsewhere is data: that its recipe names a folder here is no reason to read it. Ids of runs are
digests of their recipes, so a list of ids, in the user's folder of states, is all there is to remember.
"""

import contextlib
import os
from pathlib import Path

_begun: set[str] = set()


def remember_run(run_id: str) -> None:
    """Note that this user began a run; where there is no place for notes, this process alone remembers."""
    if is_own_run(run_id):
        return
    _begun.add(run_id)
    with contextlib.suppress(OSError):
        _list().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _list().open("a", encoding="ascii") as file:
            file.write(f"{run_id}\n")


def is_own_run(run_id: str) -> bool:
    """Whether this user began a run here."""
    if run_id in _begun:
        return True
    try:
        return run_id in _list().read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return False


def _list() -> Path:
    # XDG Base Directory Specification: what persists between restarts and is not worth copying to another machine.
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "lift3d" / "runs"
