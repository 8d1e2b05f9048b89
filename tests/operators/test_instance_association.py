from itertools import pairwise

import pytest
import torch

from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import Tracks
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError
from lift3d.operators.instance_association import fit_instances, in_scene_ids, is_associated, scene_ids_of

# Points stand in a row of cells, the same in every view: what is told apart is who claims which.
POINTS = 24
GRID = FeatureGrid(1, POINTS, 1.0, 1.0)


def masks(claimed, count=4):
    """Masks by who claims each cell: a digit is a channel, a dot is nobody's."""
    channels = torch.tensor([-1 if one == "." else int(one) for one in claimed.ljust(POINTS, ".")])
    return (FeatureMap((channels == torch.arange(count)[:, None]).float()[:, None], GRID),)


def views_of(names, seen=None):
    """Every view sees every point, or those that ``seen`` says."""
    camera = Camera(torch.eye(3), torch.eye(4), ImageSize(1, POINTS))
    point = [torch.arange(POINTS) if seen is None else torch.tensor(seen[name]) for name in names]
    view = torch.cat([torch.full_like(one, number) for number, one in enumerate(point)])
    uv = torch.stack([torch.cat(point) + 0.5, torch.full((len(view),), 0.5)], dim=1)
    tracks = Tracks(torch.zeros(POINTS, 3), torch.cat(point), view, uv, tuple(names))
    return SceneViews(dict.fromkeys(names, camera), lambda: tracks)


def tables(said, seen=None):
    """Return the scene ids by view of what views say."""
    state = fit_instances({name: masks(one) for name, one in said.items()}, views_of(list(said), seen))
    return {name: scene_ids_of(state, name).tolist() for name in said}


@pytest.mark.parametrize(
    ("said", "seen", "ids"),
    [
        # What shares its points is one thing, whatever its number.
        (
            ("0000000011112222", "2222222200001111", "1111111133330000"),
            None,
            ([0, 1, 2, -1], [1, 2, 0, -1], [2, 0, -1, 1]),
        ),
        # Two masks of one view stay two where other views see two.
        (("0000011111", "0000011111", "0000111111"), None, ([1, 0, -1, -1], [1, 0, -1, -1], [1, 0, -1, -1])),
        # A piece joins what other views see whole.
        (("0000000000", "1111111111", "0001111111"), None, ([0, -1, -1, -1], [-1, 0, -1, -1], [0, 0, -1, -1])),
        # A mask without a point has no id.
        (("0000...111", "0000...111"), {"a": [0, 1, 2], "b": [0, 1, 2]}, ([0, -1, -1, -1], [0, -1, -1, -1])),
        # One shared point is no evidence.
        (("00000", "11111"), {"a": [0, 1, 2], "b": [2, 3, 4]}, ([0, -1, -1, -1], [-1, 1, -1, -1])),
    ],
)
def test_masks_are_one_thing_by_the_points_that_they_share(said, seen, ids):
    assert tables(dict(zip("abc", said, strict=False)), seen) == dict(zip("abc", ids, strict=False))


def test_shuffled_numbers_and_views_give_the_same_ids():
    said = {"a": "000000011112222", "b": "000000111112222", "c": "000000.11112223"}
    plain = tables(said)
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        orders = {name: torch.randperm(4, generator=draw).tolist() for name in said}
        shuffled = {
            name: "".join("." if c == "." else str(orders[name][int(c)]) for c in one) for name, one in said.items()
        }
        found = tables(dict(reversed(shuffled.items())))
        for name, order in orders.items():
            assert [found[name][order[channel]] for channel in range(4)] == plain[name]


def test_views_far_apart_are_joined_through_those_between():
    """No point of the first view is seen in the last one; the chain holds."""
    names = [f"v{number}" for number in range(6)]
    seen = {name: list(range(3 * number, 3 * number + 8)) for number, name in enumerate(names)}
    found = tables({name: str(number % 4) * POINTS for number, name in enumerate(names)}, seen)
    assert {ids[number % 4] for number, ids in enumerate(found.values())} == {0}
    assert not set(seen["v0"]) & set(seen["v5"])
    assert all(set(seen[a]) & set(seen[b]) for a, b in pairwise(names))


def test_masks_are_put_under_their_ids_and_pieces_added_and_a_view_not_fitted_on_keeps_its_numbers():
    state = fit_instances({name: masks("0000011111") for name in "ab"}, views_of(["a", "b"]))
    (soft,) = masks("0000011111")
    soft = FeatureMap(0.6 * soft.values, GRID)
    pieces = in_scene_ids(soft, torch.tensor([1, 1, -1, -1]), state)
    assert pieces.channel_count == int(state.arrays["instance_count"])
    torch.testing.assert_close(pieces.values[1, 0, :10], torch.full((10,), 0.6))
    assert float(pieces.values[0].abs().max()) == 0
    overlapping = FeatureMap(torch.full((4, 1, POINTS), 0.8), GRID)
    assert float(in_scene_ids(overlapping, torch.tensor([0, 0, 0, 0]), state).values.max()) == 1
    (own,) = masks("3322110")
    assert scene_ids_of(state, "c") is None
    assert torch.equal(in_scene_ids(own, None, state).values[:4], own.values)


def test_without_points_or_masks_nothing_is_associated_and_views_with_other_channels_are_refused():
    maps = {name: masks("0011") for name in "ab"}
    assert not is_associated(fit_instances(maps, SceneViews.of({})))
    assert not is_associated(fit_instances({name: masks("....") for name in "ab"}, views_of(["a", "b"])))
    with pytest.raises(ContractError, match="as many in each"):
        fit_instances({"a": masks("00", 2), "b": masks("00", 3)}, views_of(["a", "b"]))
    state = fit_instances({name: masks("0000011111") for name in "ab"}, views_of(["a", "b"]))
    with pytest.raises(ContractError, match="as many channels"):
        in_scene_ids(masks("00", 2)[0], scene_ids_of(state, "a"), state)
