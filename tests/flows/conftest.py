"""One embedded Ray for the whole folder: starting it is what costs."""

import pytest

from tests.support.isolation import embedded_ray


@pytest.fixture(scope="session")
def ray_here(tmp_path_factory):
    with embedded_ray(tmp_path_factory.mktemp("home")):
        yield
