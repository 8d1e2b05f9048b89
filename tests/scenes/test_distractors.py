"""Scenes into which things are pasted: as many views as said, spared ones as they were, the same at every reading."""

import pytest
import torch

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.scenes.catalog import read_scene

INNER = "procedural:room?views=17&height=48&width=64"


def pictures(location):
    scene = read_scene(location)
    return {view.id: view.load() for view in scene.views}, {
        view.id: view.source.content_digest() for view in scene.views
    }


def test_a_share_of_the_views_that_are_not_spared_show_something_else():
    plain, own = pictures(INNER)
    pasted, digests = pictures(f"distractors:share=0.5&seed=2:{INNER}")
    hit = {name for name in plain if not torch.equal(plain[name].image, pasted[name].image)}
    assert len(hit) == 7  # half of the 14 that are not 0, 8 or 16
    assert not hit & {"0000", "0008", "0016"}
    assert {name for name in own if own[name] != digests[name]} == hit
    again, same = pictures(f"distractors:share=0.5&seed=2:{INNER}")
    assert same == digests
    assert all(torch.equal(again[name].image, one.image) for name, one in pasted.items())
    assert all(torch.equal(pasted[name].z_depth, one.z_depth) for name, one in plain.items())


def test_what_is_given_away_is_no_valid_pixel():
    plain, _ = pictures(INNER)
    known, _ = pictures(f"distractors:share=1&known=1:{INNER}")
    for name, one in known.items():
        differs = (one.image != plain[name].image).any(0)
        assert not bool((differs & one.is_valid).any())
    assert 0.1 < float((~known["0001"].is_valid).float().mean()) < 0.7


def test_things_that_pass_through_a_computed_room_spare_every_eighth_view():
    plain, _ = pictures(INNER)
    moved, _ = pictures(f"{INNER}&movers=0.5")
    hit = {name for name in plain if not torch.equal(plain[name].image, moved[name].image)}
    assert len(hit) == 7
    assert not hit & {"0000", "0008", "0016"}
    nearer = [float((moved[name].z_depth < plain[name].z_depth).float().mean()) for name in hit]
    assert min(nearer) > 0.05
    assert all(bool((moved[name].z_depth <= plain[name].z_depth + 1e-6).all()) for name in hit)


@pytest.mark.parametrize(
    ("location", "error", "said"),
    [
        ("distractors:share=0.2", ConfigError, "names no scene; expected distractors:share"),
        (
            f"distractors:share=2:{INNER}",
            ConfigError,
            "Distractor option share=2.0 is out of range; expected 0.0 to 1.0",
        ),
        (f"distractors:share=many:{INNER}", ConfigError, "Distractor option share='many' is not a number"),
        (f"distractors:chare=0.2:{INNER}", UnknownNameError, "distractor option 'chare'"),
        (f"distractors:seed=1&seed=2:{INNER}", ConfigError, "option 'seed' is given twice"),
    ],
)
def test_wrong_options_are_named(location, error, said):
    with pytest.raises(error, match=said):
        read_scene(location)
