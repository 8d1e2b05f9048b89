import pytest

import lift3d


def test_all_is_what_can_be_imported():
    assert sorted(lift3d.__all__) == sorted(lift3d._HOMES)
    assert all(getattr(lift3d, name) is not None for name in lift3d.__all__)


def test_what_an_operator_of_ones_own_needs_is_public():
    spec = lift3d.build_operator("rgb").spec
    assert isinstance(spec, lift3d.OperatorSpec)
    assert isinstance(lift3d.build_operator("rgb"), lift3d.Operator)
    with pytest.raises(lift3d.Lift3dError):
        lift3d.build_operator("no-such-kind")


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="read_scene"):
        lift3d.no_such_thing  # noqa: B018
