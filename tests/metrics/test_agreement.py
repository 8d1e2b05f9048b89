import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.features import FeatureMap
from lift3d.domain.lifted import Prediction
from lift3d.geometry.sampling import sample
from lift3d.metrics.agreement import effective_rank, fleiss_kappa, label_kappa, rho
from lift3d.metrics.protocol import Observations
from tests.metrics.evidence_builders import oracle_scene, replaced, with_noise


def with_features(scene, make):
    views = []
    for index, view in enumerate(scene.views):
        old = view.filled[0]
        views.append(replaced(view, features=FeatureMap(make(index, old.values), old.grid)))
    return replace(scene, views=views)


@pytest.fixture(scope="module")
def scene():
    return oracle_scene("labels", view_count=4)


def test_features_of_the_world_agree(scene):
    # What is left is bilinear reading between cells of 4 pixels.
    assert rho.score(scene).value > 0.97


def test_noise_lowers_rho_and_pure_noise_brings_it_to_0(scene):
    noisy = [
        rho.score(replace(scene, views=[with_noise(view, s, i) for i, view in enumerate(scene.views)])).value
        for s in (0.0, 0.3, 1.0)
    ]
    assert noisy[0] > noisy[1] > noisy[2]

    def random(index, values):
        return torch.randn(32, *values.shape[1:], generator=torch.Generator().manual_seed(index))

    assert rho.score(with_features(scene, random)).value == pytest.approx(0, abs=0.05)


def test_a_constant_map_has_collapsed(scene):
    constant = with_features(scene, lambda index, values: torch.full_like(values, 0.7))
    score = rho.score(constant)
    assert math.isnan(score.value)
    assert score.reason.startswith("collapsed")
    assert effective_rank.score(constant).value == pytest.approx(1, abs=1e-3)


def test_the_length_of_features_is_irrelevant(scene):
    longer = with_features(scene, lambda index, values: values * (2.0 + index))
    assert rho.score(longer).value == pytest.approx(rho.score(scene).value, abs=1e-6)


def test_a_bias_per_view_lowers_rho(scene):
    biased = with_features(scene, lambda index, values: values + 0.6 * (index - 1.5))
    assert rho.score(biased).value < rho.score(scene).value - 0.1


def test_rho_equals_its_definition(scene):
    """W and B from all pairs of observations, written out."""
    few = scene.observations.point < 40
    small = replace(
        scene,
        observations=Observations(
            scene.observations.point[few], scene.observations.view[few], scene.observations.uv[few]
        ),
        views=[with_noise(view, 0.3, index) for index, view in enumerate(scene.views)],
    )
    unit = torch.stack(
        [
            torch.nn.functional.normalize(sample(small.views[v].filled[0].values, uv.float(), (4.0, 4.0)), dim=0)
            for v, uv in zip(small.observations.view.tolist(), small.observations.uv, strict=True)
        ]
    ).double()
    distance = 1 - unit @ unit.T
    point = small.observations.point
    names = point.unique().tolist()
    rows = [torch.nonzero(point == p)[:, 0] for p in names]
    within = torch.stack([distance[r][:, r].sum() / (len(r) * (len(r) - 1)) for r in rows]).mean()
    between = torch.stack(
        [distance[p][:, q].mean() for i, p in enumerate(rows) for j, q in enumerate(rows) if i != j]
    ).mean()
    assert rho.score(small).value == pytest.approx(float(1 - within / between), abs=1e-5)


def test_effective_rank_counts_equal_directions(scene):
    """Features that are one of two orthogonal directions, half the points each: rank 2."""

    def two(index, values):
        out = torch.zeros(5, *values.shape[1:])
        out[1, :, :] = 1
        return out

    one_way = with_features(scene, two)
    assert effective_rank.score(one_way).value == pytest.approx(1, abs=1e-3)
    random = with_features(
        scene, lambda index, values: torch.randn(5, *values.shape[1:], generator=torch.Generator().manual_seed(0))
    )
    assert 4.5 < effective_rank.score(random).value <= 5 + 1e-9


def test_kappa_of_fleiss_1971_example_by_hand():
    """Two points, three raters: votes (3, 0) and (1, 2)."""
    point, label = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([7, 7, 7, 7, 9, 9])
    observed = (1 + 1 / 3) / 2
    expected = (4 / 6) ** 2 + (2 / 6) ** 2
    score = fleiss_kappa(point, label)
    assert score.value == pytest.approx((observed - expected) / (1 - expected))
    assert score.weight == 2


def test_kappa_with_different_numbers_of_raters_by_hand():
    """Votes (2, 0), (1, 1) and (0, 4); a point with one rating does not count."""
    point, label = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2, 3]), torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 5])
    observed = (1 + 0 + 1) / 3
    expected = 0.5**2 + 0.5**2
    assert fleiss_kappa(point, label).value == pytest.approx((observed - expected) / (1 - expected))


def test_kappa_is_1_for_agreement_and_about_0_for_chance():
    point = torch.arange(2000).repeat_interleave(4)
    assert fleiss_kappa(point, point % 3).value == 1
    chance = torch.randint(0, 3, point.shape, generator=torch.Generator().manual_seed(0))
    assert fleiss_kappa(point, chance).value == pytest.approx(0, abs=0.03)


def test_kappa_of_a_map_with_one_label_has_collapsed(scene):
    one = [
        replaced(view, Prediction("labels", torch.zeros(48, 64, dtype=torch.long), view.frame.is_valid))
        for view in scene.views
    ]
    assert label_kappa.score(replace(scene, views=one)).reason.startswith("collapsed")


def test_labels_of_the_world_agree_and_noise_lowers_kappa(scene):
    values = [
        label_kappa.score(replace(scene, views=[with_noise(v, s, i) for i, v in enumerate(scene.views)])).value
        for s in (0.0, 0.2, 0.6)
    ]
    assert values[0] > 0.9
    assert values[0] > values[1] > values[2]


def test_fewer_views_than_numbered_points_leave_no_ghosts(scene):
    """Points may be numbered with gaps: the gaps are not points."""
    spread = replace(scene, observations=replace(scene.observations, point=scene.observations.point * 3 + 5))
    assert rho.score(spread) == rho.score(scene)
    assert label_kappa.score(spread) == label_kappa.score(scene)
