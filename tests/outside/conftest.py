"""A small store to damage: one run of three views of 24 rows of a computed room, and the table of that run."""

import shutil

import pytest

from tests.support.runs import canonical_table, run_into, tiny_rooms


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "store"
    run_into(str(folder), tiny_rooms(1))
    return folder


@pytest.fixture(scope="session")
def table(made):
    return canonical_table(str(made), tiny_rooms(1))


@pytest.fixture
def store(made, tmp_path):
    return shutil.copytree(made, tmp_path / "store")
