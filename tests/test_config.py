import itertools

import pytest

from lift3d.config import Recipe, parse_execution, parse_recipe
from lift3d.errors import ConfigError

FIELDS = {"scenes": ["a", "b"], "operators": ["rgb"], "lifters": ["anchored"]}
OTHER = {
    "scenes": ["a"],
    "operators": ["hog"],
    "lifters": ["plane_sweep"],
    "metrics": ["psnr"],
    "image_height": 128,
    "geometry": "sweep",
    "sources": 4,
    "holdout": 8,
    "target_mode": "heldout",
    "targets": "path:10",
    "taps": 16,
    "reliability": ["tiny:encoder"],
    "plugins": ["m:a"],
}


def test_the_run_id_does_not_depend_on_the_order_of_fields():
    assert len({parse_recipe(dict(order)).run_id for order in itertools.permutations(FIELDS.items())}) == 1


@pytest.mark.parametrize("field", list(Recipe.model_fields))
def test_every_field_of_the_recipe_changes_the_run_id(field):
    assert parse_recipe({**FIELDS, field: OTHER[field]}).run_id != parse_recipe(FIELDS).run_id


def test_defaults_written_out_keep_the_run_id():
    written = {**FIELDS, **{name: value for name, value in parse_recipe(FIELDS).model_dump().items()}}
    assert parse_recipe(written).run_id == parse_recipe(FIELDS).run_id


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_hieght": 3}, "image_hieght"),
        ({"holdout": 1}, "holdout"),
        ({"scenes": []}, "scenes"),
        ({"scenes": "procedural:room"}, "Input should be a list"),
        ({"operators": ["rgb", "rgb"]}, "twice"),
        ({"target_mode": "both"}, "target_mode"),
        ({"sources": "many"}, "sources"),
    ],
)
def test_a_wrong_recipe_names_the_field(fields, message):
    with pytest.raises(ConfigError, match=message):
        parse_recipe({**FIELDS, **fields})


def test_execution_is_not_part_of_the_recipe():
    with pytest.raises(ConfigError, match="store"):
        parse_recipe({**FIELDS, "store": "x"})
    assert parse_execution({"store": "x"}).threads_per_worker == 1
    with pytest.raises(ConfigError, match="workers"):
        parse_execution({"store": "x", "workers": 0})


@pytest.mark.parametrize(
    ("mode", "holdout", "name"),
    [
        ("heldout", 8, "heldout-8"),
        ("heldout", None, "leave-one-out"),
        ("refine", None, "refine-all"),
        ("refine", 8, "refine-8"),
    ],
)
def test_the_protocol_says_how_targets_were_chosen(mode, holdout, name):
    assert parse_recipe({**FIELDS, "target_mode": mode, "holdout": holdout}).protocol == name


def test_taps_follow_the_number_of_sources_unless_given():
    assert parse_recipe({**FIELDS, "sources": 20}).tap_count == 80
    assert parse_recipe({**FIELDS, "sources": 40}).tap_count == 128
    assert parse_recipe({**FIELDS, "sources": 40, "taps": 8}).tap_count == 8
