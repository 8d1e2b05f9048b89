"""Depth, directions and instances: what is blended is the same quantity in every view, whatever each view calls it."""

import dataclasses
from functools import cache

import pytest
import torch

from lift3d.domain.features import EMPTY_STATE, FeatureGrid, FeatureMap
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError, SceneError
from lift3d.lifters.catalog import LIFTERS, build_lifter
from lift3d.metrics.catalog import build_metrics
from lift3d.operators.protocol import OperatorSpec
from lift3d.operators.rgb import RgbOperator
from lift3d.pipeline.blend import lift_colors, lift_features
from lift3d.pipeline.decode import COVERED, decode_view, plain_view
from lift3d.pipeline.encode import encode_view, target_grids
from lift3d.pipeline.inputs import SceneInputs
from lift3d.pipeline.models import Models
from lift3d.pipeline.propose import propose
from lift3d.pipeline.quantities import TargetFrameTransform, missing_of
from lift3d.pipeline.scene import run_scene
from lift3d.pipeline.weigh import lift_picture
from lift3d.scenes.catalog import read_scene
from lift3d.scenes.tracks import find_tracks
from lift3d.storage.location import open_store
from tests.support.lifting import held_out_targets, same_bits
from tests.support.operators import TrueDepth, TrueInstances, TrueNormals
from tests.support.runs import small_recipe
from tests.support.scenes import moved_scene, some_motion, textured_plane_scene, two_planes_scene

ROOM = "procedural:room?views=8&height=96&width=128"
# Of two planes, made up: what counts is that they stand still in the world.
NORMALS = torch.tensor([[0.1, 0.2, -1.0], [0.9, -0.3, -0.4]], dtype=torch.float64)


class Stage:
    """A scene, one held-out target of it, and its proposal; nothing is fitted on the target."""

    def __init__(self, scene, lifter="anchored"):
        self.lifter, self.scene = build_lifter(lifter), scene
        self.targets = held_out_targets(scene)
        self.target = self.targets[1]
        self.frames = {view.id: view.load() for view in scene.views}
        self.proposal = self.proposal_of(self.target)
        fitted = {view.id: view.camera for view in scene.views if view.id in self.target.source_ids}
        seen = dataclasses.replace(scene, views=tuple(view for view in scene.views if view.id in fitted))
        self.views = SceneViews(fitted, cache(lambda: find_tracks(seen)))

    def proposal_of(self, target):
        return propose(self.lifter, target, self.frames.__getitem__, self.scene.depth_range)

    def state(self, operator):
        maps = {name: encode_view(operator, self.frames[name]) for name in self.target.source_ids}
        return operator.fit_scene(maps, self.views)

    def lift(self, operator, state, target=None, proposal=None):
        target, proposal = target or self.target, proposal or self.proposal
        sources = [encode_view(operator, self.frames[name]) for name in proposal.source_ids]
        grids = target_grids(operator, target.camera.size)
        lifted = lift_features(operator.spec, self.lifter, proposal, sources, grids, 16, state=state)
        return lifted[0], decode_view(operator, state, lifted, target.camera.size)

    def plain(self, operator, state, name):
        target = dataclasses.replace(self.target, id=name)
        maps = encode_view(operator, self.frames[name])
        return plain_view(operator, state, target, self.frames[name], maps)


@cache
def room(lifter="anchored"):
    return Stage(read_scene(ROOM), lifter)


@cache
def planes():
    return Stage(two_planes_scene(8))


def relative_error(said, truth, is_covered):
    return ((said - truth).abs() / truth)[is_covered]


def z_of(values, quantity):
    return 1 / values if quantity == "disparity" else values


@pytest.mark.parametrize("quantity", ["depth", "disparity"])
@pytest.mark.parametrize("lifter", ["anchored", "plane_sweep"])
def test_depth_of_any_scale_and_shift_lifts_to_the_true_depth(lifter, quantity):
    stage = room(lifter)
    operator = TrueDepth(stage.frames, quantity)
    lifted, prediction = stage.lift(operator, stage.state(operator))
    truth = stage.frames[stage.target.id].z_depth
    error = relative_error(z_of(prediction.values, quantity), truth, lifted.coverage >= COVERED)
    assert len(error) > 0.5 * truth.numel()
    assert error.median() < 0.005
    # Beside edges a target's pixel is lifted from both surfaces, as its colour is.
    assert error.mean() < (0.02 if lifter == "anchored" else 0.05)


def test_wrong_pixels_do_not_turn_the_alignment():
    """One in twenty pixels says anything: one in five sightings, as a sighting reads four pixels."""
    stage = room()
    operator, clean = (TrueDepth(stage.frames, "disparity", wrong=wrong) for wrong in (0.05, 0.0))
    error = [
        relative_error(1 / stage.lift(clean, stage.state(fitted))[1].values, stage.frames[stage.target.id].z_depth, ...)
        for fitted in (operator, clean)
    ]
    assert error[0].mean() < error[1].mean() + 0.01


@pytest.mark.parametrize(
    "operator_of",
    [
        lambda frames, turn: TrueDepth(frames, "depth"),
        lambda frames, turn: TrueNormals(frames, NORMALS @ turn[:3, :3].T),
        lambda frames, turn: TrueInstances(frames),
    ],
    ids=["depth", "direction", "instance"],
)
def test_moving_the_world_changes_nothing(operator_of):
    still = planes()
    moved = Stage(moved_scene(still.scene, some_motion()))
    answers = []
    for stage, turn in ((still, torch.eye(4).double()), (moved, some_motion())):
        operator = operator_of(stage.frames, turn)
        answers.append(stage.lift(operator, stage.state(operator))[1].values)
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-3, atol=1e-3)


def test_normals_are_turned_into_the_axes_of_the_target():
    """Cameras that look elsewhere, all to one side, give other numbers for a normal; lifted, they are the target's."""
    stage, target = room(), room().targets[0]
    operator = TrueNormals(stage.frames, torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))
    lifted, prediction = stage.lift(operator, EMPTY_STATE, target, stage.proposal_of(target))
    truth = operator.said_of(stage.frames[target.id], 0)
    cosine = (prediction.values * truth).sum(0)[prediction.is_valid]
    assert cosine.median() > 0.9999
    length = lifted.features.values.norm(dim=0)[lifted.coverage > 0]
    torch.testing.assert_close(length, torch.ones_like(length))


def test_shuffled_instances_lift_to_the_same_masks():
    stage = room()
    truth = stage.frames[stage.target.id].instances
    found = []
    for seed in (0, 1):
        operator = TrueInstances(stage.frames, seed)
        _, prediction = stage.lift(operator, stage.state(operator))
        found.append(prediction.values)
    # Ids are numbered by how often they are seen: the numbers agree as well.
    assert torch.equal(found[0], found[1])
    segment = found[0].argmax(0)
    # What is large enough to be tracked keeps one id over all its pixels.
    kept = []
    for instance in torch.unique(truth).tolist():
        mine = segment[(truth == instance) & (found[0].amax(0) > 0.5)]
        if len(mine) > 200:
            kept.append((int(mine.mode().values), float((mine == mine.mode().values).double().mean())))
    assert len(kept) >= 4
    assert len({scene_id for scene_id, _ in kept}) == len(kept)
    assert min(share for _, share in kept) > 0.9


def test_one_thing_has_one_id_from_every_target_and_in_the_plain_answer_of_every_view_that_was_fitted_on():
    stage, operator = room(), TrueInstances(room().frames)
    state = stage.state(operator)
    answers = {name: stage.plain(operator, state, name).prediction for name in stage.target.source_ids}
    answers |= {one.id: stage.lift(operator, state, one, stage.proposal_of(one))[1] for one in stage.targets}
    largest, ids = int(stage.frames[stage.target.id].instances.flatten().mode().values), set()
    for name, answer in answers.items():
        mine = answer.values.argmax(0)[(stage.frames[name].instances == largest) & answer.is_valid]
        ids.add(int(mine.mode().values))
    assert len(ids) == 1


@pytest.mark.parametrize("quantity", ["depth", "disparity"])
def test_the_plain_answer_is_in_units_of_the_scene(quantity):
    stage = room()
    operator = TrueDepth(stage.frames, quantity)
    state = stage.state(operator)
    own = stage.target.source_ids[0]
    fitted = stage.plain(operator, state, own)
    error = relative_error(z_of(fitted.prediction.values, quantity), stage.frames[own].z_depth, ...)
    assert error.median() < 0.005
    # Nothing is fitted on a held-out view: it takes the pair of the scene, whatever its own would be.
    held_out = stage.plain(operator, state, stage.target.id)
    scale, shift = state.arrays["depth_alignment"].tolist()
    raw = encode_view(operator, stage.frames[stage.target.id])[0].values[0]
    as_said = z_of(held_out.prediction.values, quantity)
    near, far = state.arrays["depth_alignment_bounds"].tolist()
    expected = z_of((scale * raw + shift).clamp(min=1e-9), quantity).clamp(near, far)
    torch.testing.assert_close(as_said, expected, rtol=1e-4, atol=1e-5)


def test_a_held_out_view_keeps_its_own_instances_on_as_many_channels():
    stage, operator = room(), TrueInstances(room().frames)
    state = stage.state(operator)
    plain = stage.plain(operator, state, stage.target.id).prediction.values
    lifted = stage.lift(operator, state)[1].values
    assert plain.shape == lifted.shape
    own = encode_view(operator, stage.frames[stage.target.id])[0].values
    assert torch.equal(plain[: len(own)], own)


def test_without_texture_there_is_a_reason_and_no_answer():
    stage = room()
    depth = TrueDepth(stage.frames)
    maps = {name: encode_view(depth, stage.frames[name]) for name in stage.target.source_ids}
    state = depth.fit_scene(maps, SceneViews.of(stage.views.cameras))
    assert state.is_empty
    assert missing_of(depth.spec.quantity, state).startswith("not-aligned: ")
    assert missing_of("instance", EMPTY_STATE).startswith("not-associated: ")
    assert missing_of(depth.spec.quantity, stage.state(depth)) == ""
    with pytest.raises(SceneError, match="fit_depth"):
        stage.lift(depth, state)
    with pytest.raises(SceneError, match="fit_depth"):
        stage.plain(depth, state, stage.target.id)


def test_channels_that_are_not_the_quantity_are_refused():
    stage = planes()
    to_target = TargetFrameTransform("direction", EMPTY_STATE, 0, stage.target.camera)
    two = FeatureMap(torch.zeros(2, 1, 1), FeatureGrid(1, 1, 64.0, 48.0))
    with pytest.raises(ContractError, match="expected 3"):
        to_target.of_source(two, "0000", stage.target.camera)


@cache
def scored(kind):
    """Run the line over a few held-out views and return the means by lifter and metric."""
    location = "procedural:room?views=10&height=72&width=96"
    scene = read_scene(location)
    frames = {view.id: view.load() for view in scene.views}
    operator = TrueInstances(frames) if kind == "instance" else TrueDepth(frames, kind)
    recipe = small_recipe(scenes=[location], lifters=["anchored"], image_height=72, holdout=3, sources=4)
    metrics = build_metrics(("pq", "pq_scene") if kind == "instance" else None)
    models = Models((operator,), tuple(build_lifter(name) for name in recipe.lifters), metrics)
    store = open_store(f"memory://true-{kind}", create=True)
    record, rows = run_scene(SceneInputs(scene, store, 72), recipe, models)
    means = {}
    for row in rows:
        if row.outcome == "ok" and row.protocol.endswith("/all"):
            means.setdefault((row.lifter, row.metric), []).append(row.value)
    assert not any(one.reason for one in record.lifted)
    return {key: sum(found) / len(found) for key, found in means.items()}


def test_lifted_depth_is_nearer_to_the_truth_than_an_answer_that_nothing_is_fitted_on():
    means = scored("disparity")
    assert means["anchored", "depth_abs_rel"] < 0.03 < means["raw2d", "depth_abs_rel"]
    assert means["anchored", "depth_cross_long"] < 0.5 * means["raw2d", "depth_cross_long"]
    assert not any(metric in ("warp_error_short", "rho") for _, metric in means)


def test_lifted_instances_are_the_same_things_from_every_view():
    means = scored("instance")
    assert means["raw2d", "pq"] == pytest.approx(1.0)
    assert means["raw2d", "pq_scene"] < 0.3
    assert means["anchored", "pq_scene"] > means["raw2d", "pq_scene"] + 0.3


def test_a_cut_that_is_the_image_is_lifted_as_the_picture_is():
    """Whatever stands beside it: a residual to the input is then as sharp as what the guide was made of."""
    stage = Stage(two_planes_scene(8), "lift3d")
    sources = [stage.frames[name] for name in stage.proposal.source_ids]
    picture = lift_picture(stage.proposal, sources)
    maps = [(features_of(frame.image), features_of(frame.image)) for frame in sources]
    guides = (features_of(picture.image), features_of(picture.image))
    grids = [guides[0].grid] * 2
    spec = OperatorSpec("residual", 1, "image", color_cuts=(1,))
    both = lift_features(spec, stage.lifter, stage.proposal, maps, grids, 16, guides)
    (alone,) = lift_colors(stage.proposal, guides[1:])
    assert torch.equal(both[1].features.values.nan_to_num(), alone.features.values.nan_to_num())
    assert not torch.equal(both[0].features.values.nan_to_num(), both[1].features.values.nan_to_num())


def features_of(image):
    return FeatureMap(image, FeatureGrid(*image.shape[-2:], 1.0, 1.0))


@pytest.mark.parametrize("lifter_name", LIFTERS)
def test_what_lies_under_a_mask_changes_nothing(lifter_name):
    """Not even of raw images, which encode_view would have cleaned: weights alone keep invalid pixels out."""
    scene, operator, lifter = textured_plane_scene(), RgbOperator(), build_lifter(lifter_name)
    target = held_out_targets(scene, holdout=None)[2]

    def lifted(garbage):
        frames = {view.id: view.load() for view in scene.views}
        for frame in frames.values():
            frame.image[..., :9], frame.is_valid[:, :9] = garbage, False
        proposal = propose(lifter, target, frames.__getitem__, scene.depth_range)
        sources = [operator.encode(frames[name].image) for name in proposal.source_ids]
        grids = target_grids(operator, target.camera.size)
        return lift_features(operator.spec, lifter, proposal, sources, grids, taps=16)[0]

    black, white = lifted(0.0), lifted(1.0)
    assert bool((black.coverage > 0).any())
    same_bits((black.coverage, black.features.values), (white.coverage, white.features.values))
