"""What a surface point shows does not depend on who looks: depth, owners and weights of a computed scene."""

from dataclasses import replace

import pytest
import torch

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene_geometry import SceneGeometry, ViewGeometry
from lift3d.domain.weights import BlendingWeights
from lift3d.geometry.projection import is_inside, transfer
from lift3d.geometry.rays import cell_centers
from lift3d.lifters.blend import SourceTable, blend, blend_picture, picture_and_spread
from lift3d.surface.anchored import Anchored
from lift3d.surface.anchors import GUESSED, ballots, consensus_weights, owner_weights, used_sources
from lift3d.surface.bands import confirmed, low_band
from lift3d.surface.culling import Asked
from lift3d.surface.keyframes import keyframes
from lift3d.surface.look import Look
from lift3d.surface.owners import owners
from lift3d.surface.render import render_depth
from lift3d.surface.scene_surface import SceneSurface
from lift3d.surface.sensor import SensorGeometry, bridged
from lift3d.surface.votes import agreed_masks, voted
from tests.support.lifting import pixels, random_map, situation
from tests.support.scenes import two_planes_scene
from tests.support.surfaces import unasked_tracks
from tests.support.warping import agrees_with_depth

HEIGHT = 48


def surface_of(guides, depth_range):
    geometry = SensorGeometry().estimate(guides, depth_range, unasked_tracks)
    return SceneSurface.of(geometry, keyframes(SceneSurface.of(geometry)))


@pytest.fixture(scope="module")
def seen():
    """Two planes from seven cameras in a row: those at 2 and 4 are held out, the others show the surface."""
    scene = two_planes_scene()
    frames = {view.id: view.load(HEIGHT) for view in scene.views}
    _, guides, depth_range = situation(scene)
    return scene, frames, guides, depth_range, surface_of(guides, depth_range)


def anchored(surface, camera):
    return Anchored().anchor(surface, camera, surface.ids, 32)


def test_a_camera_that_no_view_has_sees_the_surface_where_it_is(seen):
    _, frames, _, _, surface = seen
    (held_out,) = [frame for name, frame in frames.items() if name not in surface.ids]
    uv = cell_centers(HEIGHT, held_out.camera.size.width).reshape(-1, 2)
    depth = anchored(surface, held_out.camera).depth.at(uv)
    error = (depth / held_out.z_depth.reshape(-1) - 1).abs()
    assert float((error < 0.01).float().mean()) > 0.95


def test_depth_that_is_wanted_in_a_part_of_an_image_is_that_of_the_whole(seen):
    _, frames, _, _, surface = seen
    camera = next(frame.camera for name, frame in frames.items() if name not in surface.ids)
    whole = render_depth(surface, camera, 1.0).z_depth
    wanted = torch.zeros(whole.shape, dtype=torch.bool)
    wanted[10:20, 20:30] = True
    part = render_depth(surface, camera, 1.0, wanted).z_depth
    torch.testing.assert_close(part[wanted], whole[wanted], rtol=1e-3, atol=0, equal_nan=True)


def test_neither_the_order_of_views_nor_one_more_that_shows_nothing_new_changes_an_answer(seen):
    _, frames, guides, depth_range, surface = seen
    camera = next(frame.camera for name, frame in frames.items() if name not in surface.ids)
    one = anchored(surface, camera)
    other = anchored(surface_of(guides[::-1], depth_range), camera)
    assert one.view_ids == other.view_ids
    for name in ("z_depth", "witness", "weight", "owner", "owner_weight"):
        assert torch.equal(getattr(one, name).nan_to_num(0.0), getattr(other, name).nan_to_num(0.0))
    again = replace(guides[0], id="zz")
    more = anchored(surface_of([*guides, again], depth_range), camera)
    owned = [[target.view_ids[index] for index in target.owner[:, 0].tolist()] for target in (one, more)]
    assert sum(a == b for a, b in zip(*owned, strict=True)) > 0.95 * len(owned[0])


def test_two_cameras_read_the_same_of_what_both_see(seen):
    _, _, guides, _, surface = seen
    grid = pixels(guides[0].camera)
    paintings = {name: random_map(grid, 3, seed=index) for index, name in enumerate(surface.ids)}
    answers, plain = [], []
    cameras = [guides[0].camera, guides[-1].camera]
    for camera, guide in zip(cameras, (guides[0], guides[-1]), strict=True):
        weights = used_sources(owner_weights(anchored(surface, camera), grid))
        answers.append(blend(weights, [paintings[name] for name in weights.source_ids]).features.values)
        plain.append(paintings[guide.id].values)
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    ends = [(camera.K, camera.w2c) for camera in cameras]
    uv_b, z_b = transfer(uv, guides[0].z_depth.reshape(-1), *ends)
    both = agrees_with_depth(uv_b, z_b, guides[-1].z_depth, 0.01)
    cell = (uv_b[both, 1].long() * grid.cols) + uv_b[both, 0].long()

    def difference(a, b):
        return float((a.flatten(1)[:, both] - b.flatten(1)[:, cell]).nan_to_num(0.0).square().mean())

    assert int(both.sum()) > 200
    # Noise read half a pixel aside is other noise: what is left is reading, not another answer.
    assert difference(*answers) < 0.5 * difference(*plain)


def test_what_one_view_claims_and_others_see_through_is_not_covered(seen):
    _, _, guides, depth_range, _ = seen
    geometry = SensorGeometry().estimate(guides, depth_range, unasked_tracks)
    name, view = next(iter(geometry.views.items()))
    z_depth, blob = view.z_depth.clone(), (slice(16, 28), slice(24, 40))
    z_depth[blob] *= 0.6
    floating = {**geometry.views, name: ViewGeometry(view.camera, view.grid, z_depth, view.confidence)}
    found = SceneGeometry(geometry.method, floating)
    surface = SceneSurface.of(found, keyframes(SceneSurface.of(found)))
    target = anchored(surface, view.camera)
    coverage = target.coverage.reshape(target.grid.shape)
    assert float(coverage[8:14, 12:20].max()) < 0.5
    assert float((coverage > 0.9).float().mean()) > 0.8


def test_where_a_view_is_contradicted_it_is_shown_what_the_others_see(seen):
    _, _, guides, depth_range, _ = seen
    first, blob = guides[0], (slice(16, 28), slice(30, 42))
    floating = first.z_depth.clone()
    floating[blob] *= 0.6
    surface = surface_of([replace(first, z_depth=floating), *guides[1:]], depth_range)
    target = anchored(surface, first.camera)
    torch.testing.assert_close(target.depth.z_depth[blob], first.z_depth[blob], rtol=0.01, atol=0)
    assert float(target.coverage.reshape(target.grid.shape)[8:14, 15:21].min()) > 0.9


def test_a_vote_counts_as_much_however_sure_the_depth_of_its_view_is(seen):
    _, _, guides, depth_range, surface = seen
    geometry = SensorGeometry().estimate(guides, depth_range, unasked_tracks)
    name, view = next(iter(geometry.views.items()))
    unsure = {**geometry.views, name: replace(view, confidence=0.1 * view.confidence)}
    doubted = SceneSurface.of(SceneGeometry(geometry.method, unsure), surface.keyframes)
    grid, place = pixels(guides[1].camera, 4.0), surface.ids.index(name)

    def share(of, weigh):
        weights = weigh(anchored(of, guides[1].camera), grid, 16)
        return float(torch.where(weights.source == place, weights.weight, 0.0).sum(1).mean())

    assert share(doubted, consensus_weights) < 0.3 * share(surface, consensus_weights)
    assert share(doubted, ballots) == pytest.approx(share(surface, ballots), rel=0.05)


def test_a_table_of_sources_blends_as_they_are_blended_one_by_one(seen):
    _, _, guides, _, surface = seen
    maps = [random_map(pixels(guides[0].camera, 4.0), 70, seed=index) for index in range(len(surface.ids))]
    target = anchored(surface, guides[1].camera)
    weights = consensus_weights(target, pixels(guides[1].camera, 4.0), 16)
    assert weights.source_ids == surface.ids
    table = SourceTable(maps).blend(weights)
    torch.testing.assert_close(table.features.values, blend(weights, maps).features.values)


def test_bands_keep_what_is_constant_and_never_read_invalid_pixels():
    values = torch.full((2, 24, 32), 0.25)
    is_valid = torch.ones(24, 32, dtype=torch.bool)
    is_valid[4:9] = False
    values[:, 4:9] = 100.0
    torch.testing.assert_close(low_band(values, is_valid)[:, is_valid], values[:, is_valid])


def test_what_is_fine_stays_where_sources_agree_and_is_softer_where_they_do_not():
    grid = FeatureGrid(24, 32, 1.0, 1.0)
    noise = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))
    other = noise.clone()
    other[:, :, 16:] = 1 - noise[:, :, 16:]
    uv = cell_centers(*grid.lattice).reshape(-1, 1, 2).expand(-1, 2, -1)
    cells = grid.cell_count
    source, weight = torch.tensor([[0, 1]]).expand(cells, 2), torch.tensor([[0.75, 0.25]]).expand(cells, 2)
    flat = torch.ones(cells)
    weights = BlendingWeights(grid, ("a", "b"), source, uv, weight, torch.zeros(cells, 2), flat, flat)
    picture, spread = picture_and_spread(weights, [noise, other])
    # The variance of two values is the product of their weights and the square of their distance.
    torch.testing.assert_close(spread, 0.1875 * (noise - other).square().sum(0), rtol=1e-4, atol=1e-5)
    soft = confirmed(picture, spread)
    torch.testing.assert_close(soft[:, :, :12], noise[:, :, :12])
    assert float(soft[:, :, 20:].std()) < 0.8 * float(picture[:, :, 20:].std())


def test_masks_are_told_by_their_surface_where_votes_disagree_and_stay_as_fine_as_they_are_elsewhere():
    z_depth = torch.ones(40, 60)
    z_depth[:, 30:] = 2.0
    mean = torch.zeros(2, 40, 60)
    mean[:, :, 30:] = 1.0
    # One grain on either surface: on the first mask all agree on it, on the second they do not.
    mean[:, 20, 10], mean[:, 20, 50] = 1.0, 0.0
    spread = torch.zeros_like(mean)
    spread[1] = 0.2
    masks = agreed_masks(mean, spread, z_depth)
    assert torch.equal(masks[0], mean[0])
    assert float(masks[1, :, :30].max()) < 0.2
    assert float(masks[1, :, 30:].min()) > 0.8
    z_depth[5, 5] = torch.nan
    assert bool(torch.isfinite(agreed_masks(mean, spread, z_depth)).all())


def test_the_heavier_label_wins_and_ties_go_to_the_smaller():
    grid = FeatureGrid(1, 3, 1.0, 1.0)
    source = torch.tensor([[0, 1, 2]] * 3)
    weight = torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3], [0.5, 0.5, 0.0]])
    uv = torch.full((3, 3, 2), 0.5)
    zeros, ones = torch.zeros(3, 3), torch.ones(3)
    weights = BlendingWeights(grid, ("a", "b", "c"), source, uv, weight, zeros, ones, ones)
    labels = [FeatureMap(torch.full((1, 1, 1), float(label)), FeatureGrid(1, 1, 1.0, 1.0)) for label in (7, 2, 2)]
    assert voted(weights, labels).tolist() == [[2, 2, 2]]


def test_holes_of_one_surface_are_bridged_and_shadows_of_things_in_front_stay_unknown():
    # A slanted plane is linear in disparity; before its right half stands a thing at half the depth.
    plane = 1 / (1 + 0.01 * torch.arange(20.0)).expand(12, 20)
    holed = plane.clone()
    holed[4:7, 3:6] = torch.nan
    holed[:, 13:] /= 2
    holed[:, 10:13] = torch.nan
    found = bridged(holed)
    assert torch.allclose(found[:, :10], plane[:, :10])
    assert bool(found[:, 10:13].isnan().all())


def test_a_view_is_shown_what_the_others_know_where_it_is_blind_itself(seen):
    _, frames, guides, depth_range, _ = seen
    (first, *others) = guides
    blind = replace(first, z_depth=first.z_depth.clone())
    blind.z_depth[:, : HEIGHT // 2] = torch.nan
    found = anchored(surface_of([blind, *others], depth_range), first.camera)
    uv = torch.tensor([[HEIGHT / 2 - 6.0, HEIGHT / 2]])
    wanted = frames[first.id].z_depth[HEIGHT // 2, HEIGHT // 2 - 6]
    assert float(found.depth.at(uv)) == pytest.approx(float(wanted), rel=0.02)


def test_a_gap_in_all_views_is_read_through_its_surroundings_and_is_not_covered(seen):
    _, _, guides, depth_range, _ = seen
    camera, size = guides[0].camera, guides[0].camera.size
    cell = cell_centers(size.height, size.width)
    hole = cell[..., 0] < 16  # It reaches the border: what lies amid one surface is bridged by the sensor's own views.

    def holed(guide):
        uv, z = transfer(cell.reshape(-1, 2), guide.z_depth.reshape(-1), (guide.camera.K, guide.camera.w2c),
                         (camera.K, camera.w2c))  # fmt: skip
        inside = is_inside(uv, size.height, size.width) & (z > 0)
        at = torch.where(inside[:, None], uv, 0.5).long()
        is_hidden = (inside & hole[at[:, 1], at[:, 0]]).reshape(guide.z_depth.shape)
        return replace(guide, z_depth=torch.where(is_hidden, torch.nan, guide.z_depth))

    gapped = [holed(guide) for guide in guides]
    target = anchored(surface_of(gapped, depth_range), camera)
    grid = pixels(camera)
    weights = used_sources(owner_weights(target, grid))
    is_gap = (weights.coverage <= GUESSED) & (weights.coverage > 0)
    middle = (slice(None), slice(8, 12))
    assert bool(is_gap.reshape(grid.shape)[middle].all())
    assert bool(torch.isnan(weights.z_depth[is_gap]).all())
    assert bool((weights.weight.sum(1)[is_gap] - 1).abs().max() < 1e-5)
    images = [FeatureMap(guide.image, pixels(guide.camera)) for guide in guides if guide.id in weights.source_ids]
    read = blend(weights, images).features.values
    assert float((read - guides[0].image)[:, *middle].abs().mean()) < 0.1


def test_a_view_owns_whole_places_and_no_grains_of_them():
    rows, cols, order = 8, 12, (1, 0)
    beyond = torch.zeros(rows * cols, 2)
    beyond[torch.arange(0, rows * cols, 7), 1] = 3.0  # The first keyframe does not show one cell in seven ...
    beyond[:, 1].view(rows, cols)[:, 8:] = 3.0  # ... and none on the right.
    sees = (beyond.abs() < 2).float()
    look = Look(beyond, sees, sees, torch.ones_like(sees, dtype=torch.bool))
    owner, weight = owners(look, Asked.of(torch.ones(2, dtype=torch.bool), 2), sees, order, torch.ones(rows, cols))
    share = torch.where(owner == 1, weight, 0.0).sum(1).reshape(rows, cols)
    torch.testing.assert_close(weight.sum(1), torch.ones(rows * cols))
    assert float(share[:, :6].min()) == 1.0
    assert float(share[:, 10:].max()) == 0.0
    assert bool((share[:, 6:10].diff(dim=1) <= 1e-6).all())


def test_pictures_of_one_channel_are_read_as_those_of_three_are(seen):
    _, _, guides, _, surface = seen
    weights = used_sources(owner_weights(anchored(surface, guides[1].camera), pixels(guides[1].camera)))
    images = [guide.image for guide in guides if guide.id in weights.source_ids]
    whole = blend_picture(weights, images)
    assert torch.equal(blend_picture(weights, [image[1:2] for image in images]), whole[1:2])
