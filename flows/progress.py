"""How a driver tells what it does: a listener of the context, since parameters of a flow are plain data. Light."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from lift3d.domain.records import SceneRecord

OnScene = Callable[[SceneRecord], None]
OnStage = Callable[[str, str, int, int], None]


def no_stage(location: str, stage: str, done: int, total: int) -> None:
    """Do nothing with a scene's progress."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know of finished scenes, in that order, and now and then of stages, as ``no_stage`` takes them."""

    on_scene: OnScene = lambda record: None
    on_stage: OnStage = no_stage


# Beside the listener, what workers build: benchmarks of the orchestration and tests have stand-ins for the line.
_caller: ContextVar[tuple[Listener, Any]] = ContextVar("caller", default=(Listener(), None))


@contextmanager
def called_by(listener: Listener, prepare: Any = None) -> Iterator[None]:
    """Run flows of this thread of control for a listener, with workers that build something else than the models."""
    token = _caller.set((listener, prepare))
    try:
        yield
    finally:
        _caller.reset(token)


def caller() -> tuple[Listener, Any]:
    """Return who listens and what workers build; by default nobody, and the models of the recipe (None)."""
    return _caller.get()
