"""What every lifter of the catalog promises, on scenes with a closed form."""

import dataclasses
from functools import partial

import pytest
import torch

from lift3d.domain.camera import Camera
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.scene import DepthRange
from lift3d.errors import NoOverlapError
from lift3d.lifters.blend import blend
from lift3d.lifters.catalog import LIFTERS, build_lifter, lifter_spec
from lift3d.lifters.corrective import Lift3D
from lift3d.lifters.protocol import Lifter, Uncorrected
from lift3d.lifters.weights import weights_at
from tests.support.lifting import pixels, random_map, situation
from tests.support.scenes import moved_scene, some_motion, textured_plane_scene, two_planes_scene

# A lifter decides by thresholds, so rounding in another frame of reference may flip a few cells at edges.
FLIPPED_CELLS = 0.03


NAMES = ("anchored", "lift3d", "nearest_view", "plane_sweep", "separate_weights", "shared_weights")
# One of each rule for proposals; the learned lifters differ in what they make of one.
PROPOSING = ("nearest_view", "plane_sweep", "lift3d", "anchored")


@pytest.fixture(params=PROPOSING, scope="module")
def lifter(request, baselines):
    return build_lifter(request.param)


@pytest.fixture(scope="module")
def proposed(lifter):
    """Frame, guides, depth range and the proposal of two planes."""
    frame, guides, depth_range = situation(two_planes_scene())
    return frame, guides, depth_range, lifter.propose(frame.camera, guides, depth_range)


def features_of(guides, channels=4, seed=0):
    """Features of each view that do not depend on where the view stands in the list."""
    return {one.id: random_map(pixels(one.camera, 4.0), channels, seed + sum(map(ord, one.id))) for one in guides}


def blended(weights, maps):
    """Blend the maps of some views, by id."""
    return blend(weights, [maps[view] for view in weights.source_ids])


def weights_of(lifter, camera, guides, depth_range, stride=2.0):
    proposal = lifter.propose(camera, guides, depth_range)
    return weights_at(proposal, FeatureGrid.covering(camera.size, stride))


def assert_same_lift(a, b):
    """Coverage and features are equal but for a few cells that sit on a threshold."""
    same_coverage = (a.coverage - b.coverage).abs() < 1e-2
    difference = (a.features.values - b.features.values).nan_to_num(0.0).abs().amax(0)
    is_same = same_coverage & (difference < 2e-2)
    assert float((~is_same).float().mean()) <= FLIPPED_CELLS


def blind_guide(guide):
    """A copy that looks the other way and would give itself away by its colour."""
    turn = torch.diag(torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64))
    camera = dataclasses.replace(guide.camera, w2c=turn @ guide.camera.w2c)
    return dataclasses.replace(guide, id="blind", camera=camera, image=1 - guide.image)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_the_catalog_says(name, baselines):
    assert set(NAMES) == set(LIFTERS)
    lifter = build_lifter(name)
    assert isinstance(lifter, Lifter)
    assert lifter.spec.summary
    assert lifter.spec.name == lifter_spec(name).identity["name"] == name
    # What is known of proposals holds of all learned lifters.
    if lifter.spec.is_learned:
        assert type(lifter).propose is Lift3D.propose
    else:
        assert lifter.spec == lifter_spec(name)
        assert name in PROPOSING


def test_constants_lift_to_the_constant(proposed):
    frame, guides, _, proposal = proposed
    maps = {view: FeatureMap(torch.full_like(m.values, 0.7), m.grid) for view, m in features_of(guides).items()}
    lifted = blended(weights_at(proposal, FeatureGrid.covering(frame.camera.size, 2.0)), maps)
    is_covered = lifted.coverage > 0
    assert float(is_covered.float().mean()) > 0.8
    values = lifted.features.values[:, is_covered]
    torch.testing.assert_close(values, torch.full_like(values, 0.7), rtol=0, atol=1e-5)
    assert bool(torch.isnan(lifted.features.values[:, ~is_covered]).all())


def shuffled(frame, guides, depth_range):
    return frame.camera, [guides[index] for index in (3, 1, 0, 2)], depth_range


def with_a_blind_source(frame, guides, depth_range):
    return frame.camera, [guides[0], blind_guide(guides[0]), *guides[1:]], depth_range


def in_another_world(frame, guides, depth_range):
    moved_frame, moved_guides, _ = situation(moved_scene(two_planes_scene(), some_motion()))
    return moved_frame.camera, moved_guides, depth_range


def scaled(scale, frame, guides, depth_range):
    def of_camera(camera):
        w2c = camera.w2c.clone()
        w2c[:3, 3] *= scale
        return Camera(camera.K, w2c, camera.size)

    larger = [dataclasses.replace(one, camera=of_camera(one.camera), z_depth=one.z_depth * scale) for one in guides]
    return of_camera(frame.camera), larger, DepthRange(depth_range.near * scale, depth_range.far * scale)


@pytest.mark.parametrize(
    "change", [shuffled, with_a_blind_source, in_another_world, partial(scaled, 0.013), partial(scaled, 140.0)]
)
def test_what_is_irrelevant_changes_nothing(lifter, proposed, change):
    """The order of sources, one that sees nothing, a rigid motion, and the unit of world and depths together."""
    frame, guides, depth_range, proposal = proposed
    camera, changed, changed_range = change(frame, guides, depth_range)
    maps = features_of([*guides, blind_guide(guides[0])])
    before = weights_at(proposal, FeatureGrid.covering(frame.camera.size, 2.0))
    assert_same_lift(blended(before, maps), blended(weights_of(lifter, camera, changed, changed_range), maps))


def test_what_lies_under_a_mask_changes_nothing(lifter):
    frame, guides, depth_range = situation(two_planes_scene())

    def masked(guide, beneath):
        is_valid = guide.is_valid.clone()
        is_valid[:8], is_valid[:, 20:30] = False, False
        return dataclasses.replace(
            guide,
            image=torch.where(is_valid, guide.image, beneath),
            is_valid=is_valid,
            z_depth=torch.where(is_valid, guide.z_depth, 1 + beneath),
        )

    black, garish = (
        lifter.propose(frame.camera, [masked(guide, beneath) for guide in guides], depth_range)
        for beneath in (torch.zeros_like(frame.image[0]), torch.arange(48.0)[:, None].expand(48, 64) % 2)
    )
    for name in ("z_depth", "probability", "view_weight"):
        assert torch.equal(getattr(black, name), getattr(garish, name))


def test_no_overlap_is_said_and_depth_is_not_asked_for(lifter):
    frame, guides, depth_range = situation(two_planes_scene())
    with pytest.raises(NoOverlapError):
        lifter.propose(frame.camera, [blind_guide(guides[0])], depth_range)
    with pytest.raises(NoOverlapError):
        lifter.propose(frame.camera, [], depth_range)
    frame, guides, depth_range = situation(two_planes_scene(has_depth=False))
    assert lifter.propose(frame.camera, guides, depth_range).probability.sum() > 0


def test_coverage_grows_with_sources_and_cells_outside_of_all_have_none(lifter):
    frame, guides, depth_range = situation(two_planes_scene(baseline=0.4))
    few = weights_of(lifter, frame.camera, guides[2:], depth_range).coverage
    many = weights_of(lifter, frame.camera, guides, depth_range).coverage
    assert float(many.mean()) >= float(few.mean())
    is_lost = (few > 0.5) & (many == 0)
    assert float(is_lost.float().mean()) <= FLIPPED_CELLS
    frame, guides, depth_range = situation(textured_plane_scene(baseline=0.1))
    # Slide the sources 0.9 units left: the right of the target is on no source image at any depth in range.
    shift = torch.eye(4, dtype=torch.float64)
    shift[0, 3] = 0.9
    moved = [
        dataclasses.replace(guide, camera=dataclasses.replace(guide.camera, w2c=shift @ guide.camera.w2c))
        for guide in guides
    ]
    coverage = weights_of(lifter, frame.camera, moved, depth_range).coverage.reshape(24, 32)
    assert float(coverage[:, -4:].abs().max()) == 0
    assert float(coverage.max()) > 0


def test_an_identity_operator_on_a_plane_equals_the_homography(lifter):
    frame, guides, depth_range = situation(textured_plane_scene())
    maps = {guide.id: FeatureMap(guide.image, FeatureGrid.covering(guide.camera.size, 1.0)) for guide in guides}
    lifted = blended(weights_of(lifter, frame.camera, guides, depth_range, stride=1.0), maps)
    is_covered = lifted.coverage > 0.5
    assert float(is_covered.float().mean()) > 0.9
    # The scene renders the target through the plane's homography in closed form.
    error = (lifted.features.values - frame.image)[:, is_covered].abs()
    assert float(error.mean()) < 0.02
    assert float((error.amax(0) > 0.1).float().mean()) < 0.02


def test_probabilities_sum_to_one_or_to_zero_and_nothing_is_of_chance(lifter, proposed):
    frame, guides, depth_range, proposal = proposed
    total = proposal.probability.sum(1)
    assert bool((((total - 1).abs() < 1e-4) | (total == 0)).all())
    assert bool((proposal.view_weight >= 0).all())
    again = lifter.propose(frame.camera, guides, depth_range)
    for name in ("z_depth", "probability", "view_weight"):
        assert torch.equal(getattr(proposal, name), getattr(again, name))


@pytest.mark.parametrize("name", NAMES)
def test_correct_is_the_identity_but_for_lifters_of_two_stages(name, baselines):
    frame, guides, depth_range = situation(two_planes_scene())
    lifter = build_lifter(name)
    proposal = lifter.propose(frame.camera, guides, depth_range)
    weights = weights_at(proposal, FeatureGrid.covering(frame.camera.size, 4.0))
    corrected = lifter.correct(proposal, weights, list(features_of(guides).values()))
    if lifter.spec.is_learned and not isinstance(lifter, Uncorrected):
        torch.testing.assert_close(corrected.weight.sum(1), weights.weight.sum(1), rtol=0, atol=1e-5)
    else:
        assert corrected is weights
