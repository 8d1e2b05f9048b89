import pytest

import lift3d


def test_all_is_what_can_be_imported():
    assert sorted(lift3d.__all__) == sorted(lift3d._HOMES)
    assert all(callable(getattr(lift3d, name)) for name in lift3d.__all__)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="read_scene"):
        lift3d.no_such_thing  # noqa: B018
