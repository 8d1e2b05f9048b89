"""The store that tests of what is shown read."""

import pytest

from tests.support.runs import ROOM, STREET, run_into, small_recipe


@pytest.fixture(scope="session")
def shown_store(tmp_path_factory):
    """A run of a room and a street with depth and of a capture that is gone: rgb and hog, two lifters each."""
    url = str(tmp_path_factory.mktemp("shown") / "store")
    run_into(url, small_recipe(scenes=[ROOM, STREET, "/captures/gone"]))
    return url
