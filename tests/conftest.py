"""Table of contents: fault matrix · hypothesis profile · one thread for equal bits · isolation of network settings."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from lift3d.bench.baselines import register_baselines
from lift3d.lifters import catalog

pytest_plugins = ["tests.support.marked_pages", "tests.support.s3"]

settings.register_profile(
    "house", max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.load_profile("house")

# Equal bits need equal thread counts; tests share two cores.
torch.set_num_threads(1)

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Folders of files that take long, though some hold few tests.
LONG = ("cli", "flows", "goldens", "pipeline", "results", "training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: at the end no process of several is left alone with it (--no-loadscope-reorder)."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give the tests, and the processes that they start, a list of begun runs of their own."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real captures and networks; tests that ask for it are marked real."""
    location = os.environ.get("LIFT3D_TEST_DATA")
    if not location:
        pytest.skip("LIFT3D_TEST_DATA does not name a folder with real captures and networks")
    return Path(location)


@pytest.fixture(scope="module")
def baselines() -> Iterator[None]:
    """Let the module's tests name the lifters of the benches."""
    own = list(catalog.LIFTERS)
    register_baselines()
    yield
    for table in (catalog.LIFTERS, catalog._SPECS):
        for name in [name for name in table if name not in own]:
            del table[name]
