"""Scenes in the rain and through drops: every view, the same at every reading, and what is known of it."""

import pytest
import torch

from lift3d.errors import ConfigError, UnknownNameError
from lift3d.scenes.catalog import read_scene

INNER = "procedural:room?views=4&height=96&width=128"


def frames(location):
    return [view.load() for view in read_scene(location).views]


@pytest.mark.parametrize("kind", ["rain", "droplets"])
def test_every_view_is_spoiled_where_it_says_and_nowhere_else(kind):
    plain, scene = frames(INNER), read_scene(f"{kind}:seed=3:{INNER}")
    for view, before in zip(scene.views, plain, strict=True):
        spoiled, again = view.load(), view.load()
        under = torch.from_numpy(view.source.is_spoiled(before.camera, before.camera.size))
        assert 0.005 < float(under.float().mean()) < 0.4
        differs = (spoiled.image - before.image).abs().amax(0)
        assert float(differs[~under].max()) < 0.06
        assert float(differs[under].mean()) > 0.05
        assert torch.equal(spoiled.image, again.image)
        assert torch.equal(spoiled.z_depth, before.z_depth)
        assert bool(spoiled.is_valid.all())
    known = frames(f"{kind}:seed=3&known=1:{INNER}")
    first = torch.from_numpy(scene.views[0].source.is_spoiled(plain[0].camera, plain[0].camera.size))
    assert torch.equal(~known[0].is_valid, first)


def test_drops_stick_to_the_lens_unless_told_otherwise():
    def under(location):
        views = read_scene(location).views
        return [view.source.is_spoiled(view.load().camera, view.load().camera.size) for view in views[:2]]

    stuck, loose = under(f"droplets:seed=1:{INNER}"), under(f"droplets:stuck=0:{INNER}")
    assert (stuck[0] == stuck[1]).all()
    assert (loose[0] != loose[1]).any()


def test_content_digests_tell_kinds_and_options_apart():
    locations = [f"{kind}{INNER}" for kind in ("", "rain:seed=0:", "rain:seed=1:", "droplets:seed=0:", "rain:known=1:")]
    digests = [read_scene(location).views[0].source.content_digest() for location in locations]
    assert len({*digests}) == len(locations)
    assert len({read_scene(location).id for location in locations}) == len(locations)


@pytest.mark.parametrize(
    ("location", "error", "said"),
    [
        ("rain:seed=0", ConfigError, "names no scene; expected rain:seed=0:LOCATION"),
        (f"rain:amount=99:{INNER}", ConfigError, "Rain option amount=99.0 is out of range"),
        (f"droplets:amount=1:{INNER}", UnknownNameError, "droplet option 'amount'"),
        (f"droplets:count=many:{INNER}", ConfigError, "is not a number"),
    ],
)
def test_what_is_not_meant_is_refused(location, error, said):
    with pytest.raises(error, match=said):
        read_scene(location)
