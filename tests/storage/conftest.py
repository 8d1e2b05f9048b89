import uuid

import pytest

from lift3d.storage.location import Store, open_store


@pytest.fixture(params=["local", "memory", "s3"])
def store(request):
    """An empty store of every kind that needs no real server."""
    if request.param == "local":
        return open_store(str(request.getfixturevalue("tmp_path") / "store"), create=True)
    if request.param == "memory":
        return open_store(f"memory://{uuid.uuid4().hex}", create=True)
    return open_store(f"s3://{request.getfixturevalue('moto_bucket')}/some/{uuid.uuid4().hex}", create=True)


@pytest.fixture
def local_store(tmp_path):
    return open_store(str(tmp_path / "store"), create=True)


@pytest.fixture
def shared_store_of(request):
    """Make an empty store that other processes see, too: on a disk, or on a real service."""

    def make(kind: str) -> Store:
        if kind == "local":
            return open_store(str(request.getfixturevalue("tmp_path") / "store"), create=True)
        return open_store(f"s3://{request.getfixturevalue(f'{kind}_bucket')}/{uuid.uuid4().hex}", create=True)

    return make
