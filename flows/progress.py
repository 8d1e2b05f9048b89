"""How a driver tells what it does: a listener of the context, since parameters of a flow are plain data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from lift3d.domain.records import SceneRecord

OnScene = Callable[[SceneRecord], None]
OnStage = Callable[[str, str, int, int], None]


def no_scene(record: SceneRecord) -> None:
    """Do nothing with a finished scene."""


def no_stage(location: str, stage: str, done: int, total: int) -> None:
    """Do nothing with a scene's progress."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know.

    Attributes:
        on_scene: Called with the record of every scene that is finished, in the order of finishing.
        on_stage: Called now and then with a location, its stage, how much of it is done and of how much.
    """

    on_scene: OnScene = no_scene
    on_stage: OnStage = no_stage


_NOBODY = Listener()
_listener: ContextVar[Listener] = ContextVar("listener", default=_NOBODY)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Make a listener the current one of this thread of control."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def current_listener() -> Listener:
    """Return who listens; by default nobody."""
    return _listener.get()


# What workers build, for those who run a flow with stand-ins for the line: benchmarks of the orchestration, tests.
_prepare: ContextVar[Any] = ContextVar("prepare", default=None)


@contextmanager
def preparing(prepare: Any) -> Iterator[None]:
    """Let workers of this thread of control build something else than the models of their recipe."""
    token = _prepare.set(prepare)
    try:
        yield
    finally:
        _prepare.reset(token)


def current_prepare() -> Any:
    """Return what workers build; None for the models of their recipe."""
    return _prepare.get()
