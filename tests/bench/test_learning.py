"""The bench of what learning adds: rules for votes that know no channel and no camera, their fit, and the page."""

import math

import pytest
import torch
import torch.nn.functional as F

from lift3d.bench import learning, votes_fit
from lift3d.bench.coarse_features import FINEST_PX, CoarseFeatures, coarsened
from lift3d.bench.learned_methods import ANCHORED, FACING, SOFT
from lift3d.bench.learning_page import left, nearer, page, verdict
from lift3d.bench.ratios import Figure
from lift3d.bench.votes import SCALARS, Rule, Witnesses
from lift3d.bench.votes_fit import CRISPER, Evidence, fitted, gain
from lift3d.domain.camera import Camera, ImageSize
from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.records import RAW2D
from lift3d.errors import ConfigError
from lift3d.lifters.checkpoint_files import DEFAULT
from lift3d.operators.catalog import build_operator
from lift3d.surface.anchored import Anchored
from lift3d.surface.bands import CRISPNESS
from lift3d.surface.keyframes import keyframes
from lift3d.surface.scene_surface import SceneSurface
from lift3d.surface.sensor import SensorGeometry
from tests.support.lifting import situation
from tests.support.runs import small_recipe
from tests.support.scenes import textured_plane_scene
from tests.support.surfaces import unasked_tracks

ROOM = "procedural:room?seed=1&views=10&height=32&width=44"


@pytest.fixture(scope="module")
def plane():
    """A plane, and the surface that all its views show."""
    frame, guides, depth_range = situation(textured_plane_scene(), target=None)
    geometry = SensorGeometry().estimate(guides, depth_range, unasked_tracks)
    return frame, SceneSurface.of(geometry, keyframes(SceneSurface.of(geometry)))


def beside(camera, cells, z_depth):
    """A camera moved along its rows by so many guide cells' worth of a plane that it faces."""
    w2c = camera.w2c.clone()
    w2c[0, 3] -= cells * 2 * z_depth / float(camera.K[0, 0])
    return Camera(camera.K, w2c, camera.size)


def test_what_a_rule_looks_at_is_a_surface_points_own_but_for_who_looks(plane):
    frame, surface = plane
    z_depth, shift = float(frame.z_depth.median()), 3
    here, there = frame.camera, beside(frame.camera, shift, z_depth)
    seen = [Anchored().anchor(surface, camera, surface.ids, len(surface.ids)) for camera in (here, there)]
    by_view = []
    for one in seen:
        scalars, views = Witnesses(surface).scalars(one), len(surface.ids)
        full = torch.full((len(scalars), views, len(SCALARS)), torch.nan)
        full.scatter_(1, one.witness.long()[..., None].expand(-1, -1, len(SCALARS)), scalars)
        is_one = torch.zeros(len(scalars), views).scatter_(1, one.witness.long(), (one.weight > 0).float()) > 0
        full[~is_one] = torch.nan
        by_view.append(full.reshape(*one.grid.shape, views, -1))
    # A point of the plane is so many columns further on in the camera that was moved.
    a, b = by_view[0][4:-4, 4 + shift : -4], by_view[1][4:-4, 4 : -4 - shift]
    both = torch.isfinite(a) & torch.isfinite(b)
    assert float(both.float().mean()) > 0.5
    differ = {name: float((a - b).abs()[..., at][both[..., at]].median()) for at, name in enumerate(SCALARS)}
    assert all(value < 5e-3 for name, value in differ.items() if name != "facing"), differ
    assert differ["facing"] > 0.01


def test_a_rule_without_coefficients_changes_nothing_and_votes_sum_to_one(plane):
    frame, surface = plane
    one = Anchored().anchor(surface, frame.camera, surface.ids, 8)
    scalars = Witnesses(surface).scalars(one)
    torch.testing.assert_close(Rule({}).voted(one, scalars).weight, one.weight)
    voted = Rule({"off": -1.0, "finer": 0.5}).voted(one, scalars)
    assert not torch.equal(voted.weight, one.weight)
    torch.testing.assert_close(voted.weight.sum(1), one.weight.sum(1))


def evidence(cells=200, witnesses=6, channels=16, seed=0):
    """Witnesses of which half say the truth with a little noise, and others something else, which ``off`` tells."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(cells, channels, generator=generator)
    is_wrong = torch.arange(witnesses) >= witnesses // 2
    noise = torch.randn(cells, witnesses, channels, generator=generator)
    said = truth[:, None] + noise * torch.where(is_wrong, 2.0, 0.2)[:, None]
    scalars = torch.randn(cells, witnesses, len(SCALARS), generator=generator) * 0.3
    scalars[..., SCALARS.index("off")] = is_wrong.float()
    both = torch.cat([said, said], dim=1)
    return truth, said, Evidence(
        gram=both @ both.mT,
        toward=(both @ truth[..., None])[..., 0],
        truth=truth.square().sum(1),
        weight=torch.full((cells, witnesses), 1 / witnesses),
        scalars=scalars,
    )  # fmt: skip


def test_errors_by_products_are_those_of_the_consensus_itself():
    truth, said, one = evidence()
    log_weight = one.scalars[..., 0]
    weight = torch.softmax(log_weight, 1)
    mean = (weight[..., None] * said).sum(1)
    cosine, square = one.errors(log_weight, CRISPNESS)
    assert float(cosine) == pytest.approx(float((1 - F.cosine_similarity(mean, truth)).mean()), abs=1e-5)
    length = (weight * said.norm(dim=-1)).sum(1)
    answer = F.normalize(mean, dim=1) * length[:, None]
    wanted = ((answer - truth).square().sum(1) / truth.square().sum(1)).mean()
    assert float(square) == pytest.approx(float(wanted), abs=1e-4)


def test_a_fit_finds_the_scalar_that_tells_who_is_wrong_and_nothing_in_the_others():
    *_, one = evidence()
    rule = fitted([one], SCALARS)
    assert rule.coefficients["off"] < -1
    assert all(abs(value) < 0.5 for name, value in rule.coefficients.items() if name != "off")
    *_, other = evidence(seed=1)
    assert gain([other], rule) < -0.3
    assert abs(gain([other], fitted([one], ["edge"]))) < 0.05
    # Crisp maps are the plain ones here, so that more or less of it changes nothing.
    assert gain([other], Rule({CRISPER: 0.5})) == pytest.approx(0, abs=1e-5)


def test_features_of_every_pixel_are_means_over_coarse_cells_and_others_stay():
    size = ImageSize(24, 32)
    ramp = FeatureMap(torch.arange(32.0).repeat(1, 24, 1), FeatureGrid.covering(size, 1.0))
    coarse = coarsened(ramp, size)
    assert coarse.grid == FeatureGrid.covering(size, FINEST_PX)
    # A mean of a ramp lies at the cell's own centre, half a pixel before that of its columns' numbers.
    torch.testing.assert_close(coarse.values[0, 2, 1:-1], torch.arange(5.5, 29, 4))
    assert coarsened(coarse, size) is coarse
    with pytest.raises(ConfigError, match="color"):
        CoarseFeatures(build_operator("rgb"))


def test_the_page_has_every_method_beside_the_plain_consensus(tmp_path, monkeypatch):
    monkeypatch.setattr(votes_fit, "STEPS", 10)
    recipe = small_recipe(scenes=[ROOM], operators=["tiny:encoder"], image_height=32, sources=3, holdout=2)
    (row,) = learning.measure(recipe, (DEFAULT,), str(tmp_path))
    assert set(row.near) == set(row.seconds) == set(row.excess["long"]) - {RAW2D}
    assert all(0 < value < 1 for values in row.near.values() for value in values)
    assert left([row], RAW2D, "long").value == 1
    # On one surface views agree, and looking as the target does brings them nearer to what each of them says.
    assert left([row], ANCHORED, "long").value < 0.6
    assert nearer([row], FACING).value < 0 == nearer([row], ANCHORED).value
    recipe = recipe.model_copy(update={"scenes": (ROOM, ROOM.replace("seed=1", "seed=2"))})
    fit = votes_fit.measure(recipe, str(tmp_path))
    assert len(fit.rules) == len(fit.gains) == len(votes_fit.TRIED)
    assert fit.gains[votes_fit.TRIED.index(("facing",))] < 0
    (alone,) = learning.measure(
        small_recipe(scenes=[ROOM], operators=["tiny:encoder"], image_height=32, sources=3, holdout=2),
        (),
        str(tmp_path),
    )
    assert set(alone.near) > {ANCHORED, *SOFT}
    assert left([alone], f"{ANCHORED}, softer", "long", less=ANCHORED).value < 0
    kept = learning.measured_before(str(tmp_path))
    assert row in kept
    assert alone in kept
    text = page(kept, votes_fit.measured_before(str(tmp_path)))
    for words in (
        "lift3d bench learning",
        "--fit",
        "## At a glance",
        f"{DEFAULT}: residual",
        "votes, softer",
        "facing -",
    ):
        assert words in text


def test_a_verdict_is_of_the_whole_interval():
    assert [verdict(Figure(-1.0, *ends)) for ends in ((-2.0, -0.1), (-2.0, 0.1), (0.1, 2.0), (math.nan, math.nan))] == [
        *("✓", "", "✗", "")
    ]
