"""Recipes that name lists of scenes."""

import json

import pytest

from lift3d.errors import ConfigError
from lift3d.runs.scene_lists import EXACT_LIST, expand_scenes


def test_a_list_stands_for_its_scenes_among_others(tmp_path):
    (tmp_path / "list.txt").write_text("# captures\n/data/a\nb/c\nprocedural:room?seed=1\n")
    found = expand_scenes(["first", str(tmp_path / "list.txt"), "last"])
    assert found == ("first", "/data/a", str(tmp_path / "b/c"), "procedural:room?seed=1", "last")
    assert expand_scenes("procedural:room?seed=2") == ("procedural:room?seed=2",)
    with pytest.raises(ConfigError, match="does not exist"):
        expand_scenes(str(tmp_path / "none.csv"))


def test_the_list_that_a_run_writes_is_taken_to_the_letter(tmp_path):
    scenes = ("relative/a", "odd #name", "#b", "/c")
    (tmp_path / EXACT_LIST).write_text("\n".join(json.dumps({"location": one}) for one in scenes))
    assert expand_scenes(str(tmp_path / EXACT_LIST)) == scenes


def test_a_list_on_an_object_store_names_absolute_places(monkeypatch):
    monkeypatch.setattr("lift3d.storage.location.Store.read_bytes", lambda *key: b"/data/a\nb\n")
    with pytest.raises(ConfigError, match=r"names 'b', which is relative"):
        expand_scenes("s3://bucket/list.txt")
