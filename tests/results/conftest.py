"""The store that tests of what is shown read."""

import pytest

import lift3d
from tests.support.runs import ROOM, STREET, run_into, small_recipe


@pytest.fixture(scope="session")
def shown_store(tmp_path_factory):
    """A run of a room and a street with depth and of a capture that is gone: rgb and hog, two lifters each."""
    url = str(tmp_path_factory.mktemp("shown") / "store")
    run_into(url, small_recipe(scenes=[ROOM, STREET, "/captures/gone"]))
    return url


@pytest.fixture(scope="session")
def room_run(tmp_path_factory):
    """A small room on its true depth, all views lifted, by operator: pictures, classes, features."""
    url = str(tmp_path_factory.mktemp("room") / "store")
    operators = ["rgb", "tiny:segmenter", "hog"]
    run_into(url, small_recipe(operators=operators, lifters=["anchored"], metrics=["coverage"], target_mode="refine"))
    return {one.operator: one for one in lift3d.lifted_scenes(url, captures=True)}
