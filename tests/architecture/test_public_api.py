from pathlib import Path

import pytest

import lift3d


def test_all_can_be_imported():
    assert {"lift", "read_scene", "Operator", "Recipe"} <= set(lift3d.__all__)
    assert all(getattr(lift3d, name) is not None for name in lift3d.__all__)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no_such_thing") as refused:
        lift3d.no_such_thing  # noqa: B018
    # What Python finds the nearest name by.
    assert (refused.value.name, refused.value.obj) == ("no_such_thing", lift3d)


def test_a_path_is_as_good_as_its_text(tmp_path):
    with pytest.raises(lift3d.Lift3dError, match="The folder is empty"):
        lift3d.read_scene(tmp_path)
    store = lift3d.open_store(tmp_path / "store", create=True)
    assert store.url == str(tmp_path / "store")
    with pytest.raises(lift3d.Lift3dError, match="holds no run yet"):
        lift3d.lifted_scenes(Path(store.url))
