"""Real captures and networks, and pictures of them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from lift3d.domain.scene import Frame
from lift3d.scenes.catalog import read_scene


@cache
def _frame(folder: Path, index: int) -> Frame:
    return read_scene(str(folder)).views[index].load(192)


@pytest.fixture(autouse=True)
def frame_of(test_data: Path) -> Callable[[str, int], Frame]:
    """Frames of captures, 192 pixels high, by name and number of the view."""
    return lambda capture, index: _frame(test_data / "captures" / capture, index)
