"""Memory is bounded, and what does not fit is read, decoded or computed again: the answers are the same bits."""

import pytest

from lift3d.metrics import correspondence
from lift3d.pipeline import anchor, evidence, surface
from lift3d.pipeline.bounded_cache import BoundedCache
from lift3d.surface import held, sweep
from tests.support.runs import canonical_arrays, canonical_table, run_into, small_recipe

SCENE = "procedural:room?views=3&height=32&width=40"
OPERATORS = ["tiny:segmenter", "tiny:encoder"]


class Forgetful(BoundedCache):
    """Keeps what was used last alone."""

    def __init__(self, byte_count, limit=0):
        super().__init__(byte_count, 0)


@pytest.mark.parametrize(("geometry", "operators"), [("sensor", OPERATORS), ("sweep", OPERATORS[:1])])
def test_a_worker_that_keeps_nothing_finds_the_same(tmp_path, monkeypatch, geometry, operators):
    recipe = small_recipe(scenes=[SCENE], operators=operators, image_height=32, geometry=geometry)
    roomy, narrow = str(tmp_path / "roomy"), str(tmp_path / "narrow")
    records = run_into(roomy, recipe)
    for module in (anchor, evidence):
        monkeypatch.setattr(module, "BoundedCache", Forgetful)
    monkeypatch.setattr(anchor, "MOST_TABLE_BYTES", 0)
    monkeypatch.setattr(held, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(sweep, "PHOTOGRAPHS", 1)
    monkeypatch.setattr(surface, "_VIEWS_PER_PART", 2)
    monkeypatch.setattr(correspondence, "KEPT_PAIRS", 1)
    again = run_into(narrow, recipe)
    assert canonical_table(narrow, recipe) == canonical_table(roomy, recipe)
    assert canonical_arrays(narrow, again) == canonical_arrays(roomy, records)
