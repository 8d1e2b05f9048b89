"""Runs whose views are judged: what passes by is left out, what is part of the scene stays, as do bits and words."""

import pytest
import torch
import torch.nn.functional as F

from lift3d.config import parse_recipe
from lift3d.errors import ConfigError
from lift3d.pipeline.models import Models
from lift3d.pipeline.reliability import read_contradiction
from lift3d.pipeline.surface import read_surface
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.distractors import PastedFrame
from lift3d.storage.location import open_store
from tests.support.runs import ran

QUIET = "procedural:room?seed=3&views=12&height=64&width=80"
HELD_OUT = {
    "operators": ["rgb"],
    "lifters": ["anchored"],
    "metrics": ["psnr"],
    "image_height": 64,
    "holdout": 8,
    "target_mode": "heldout",
}


def lifted(folder, location, **fields):
    """Return the record, mean PSNR of held-out views, and the store."""
    record, rows = ran(folder, scenes=[location], **HELD_OUT, **fields)
    assert record.outcome == "ok", record.reason
    value = rows[(rows["lifter"] == "anchored") & (rows["metric"] == "psnr")]["value"].mean()
    return record, float(value)


def test_what_passes_by_is_left_out_and_a_scene_where_nothing_does_stays_as_it_is(tmp_path):
    busy = f"distractors:share=0.3:{QUIET}"
    believed, without = lifted(tmp_path, busy)
    judged, with_judge = lifted(tmp_path, busy, reliability=["tiny:encoder"])
    _, quiet = lifted(tmp_path, QUIET)
    assert with_judge > without + 0.5 * (quiet - without) > without + 1
    assert believed.surface_path != judged.surface_path
    again, _ = lifted(tmp_path, busy, reliability=["tiny:encoder"])
    assert (again.surface_path, again.computed) == (judged.surface_path, {})


def test_scores_lie_beside_the_surface_and_tell_which_views_are_hit(tmp_path):
    record, _ = lifted(tmp_path, f"distractors:share=0.2:{QUIET}", reliability=["tiny:encoder"])
    store = open_store(str(tmp_path / "store"))
    scores, surface = read_contradiction(store, record.surface_path), read_surface(store, record.surface_path)
    cut = {view.id: float((view.confidence == 0).float().mean()) for view in surface.views}
    pasted = [view.id for view in read_scene(record.location).views if isinstance(view.source, PastedFrame)]
    assert sorted(sorted(cut, key=cut.__getitem__)[-2:]) == pasted
    most = {name: float(score.max()) for name, score in scores.items()}
    assert sorted(sorted(most, key=most.__getitem__)[-2:]) == pasted


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reliability": ["rgb"]}, "'rgb' cannot judge what views show: it gives color, expected features"),
        ({"reliability": ["tiny:encoder"], "lifters": ["plane_sweep"]}, "which plane_sweep do not read"),
        ({"reliability": ["tiny:encoder", "tiny:encoder"]}, "reliability names the same thing twice"),
    ],
)
def test_judges_that_cannot_judge_are_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        Models.of(parse_recipe({"scenes": [QUIET], **fields}))


def test_masked_pixels_never_vote(tmp_path):
    _, believed = lifted(tmp_path, f"distractors:share=0.4:{QUIET}")
    record, masked = lifted(tmp_path, f"distractors:share=0.4&known=1:{QUIET}")
    _, quiet = lifted(tmp_path, QUIET)
    assert masked > believed + 0.8 * (quiet - believed) > believed + 1
    surface = read_surface(open_store(str(tmp_path / "store")), record.surface_path)
    for view in surface.views:
        is_valid = read_scene(record.location).view(view.id).load(64).is_valid
        hidden = F.interpolate((~is_valid)[None, None].float(), view.grid.shape, mode="area")[0, 0] > 0.5
        assert bool(torch.isnan(view.z_depth[hidden]).all())
        assert not bool(view.quality[hidden].any())
