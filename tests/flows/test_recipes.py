"""Recipes that ship: complete, valid, and of parts that exist."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from lift3d.config import Recipe, parse_recipe
from lift3d.lifters.catalog import LIFTERS
from lift3d.operators.catalog import known_operators

RECIPES = sorted((Path(__file__).parents[2] / "flows" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_complete_and_valid(path):
    fields = yaml.safe_load(path.read_text())
    assert set(fields) == set(Recipe.model_fields)
    recipe = parse_recipe(fields)
    assert set(recipe.lifters) <= set(LIFTERS)
    assert {name.split(":")[0].split("?")[0] for name in recipe.operators} <= set(known_operators())
    assert {urlsplit(scene).scheme for scene in recipe.scenes} == {"procedural"}, "no place of one machine"
