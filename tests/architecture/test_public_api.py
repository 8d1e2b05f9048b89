import pytest

import lift3d


def test_all_can_be_imported():
    assert {"lift", "read_scene", "Operator", "Recipe"} <= set(lift3d.__all__)
    assert all(getattr(lift3d, name) is not None for name in lift3d.__all__)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no_such_thing"):
        lift3d.no_such_thing  # noqa: B018
