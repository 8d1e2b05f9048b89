import math
from dataclasses import replace

import pytest
import torch

from lift3d.domain.features import FeatureMap
from lift3d.geometry.sampling import sample
from lift3d.metrics.agreement import effective_rank, fleiss_kappa, label_kappa, rho
from lift3d.metrics.protocol import Observations
from tests.metrics.evidence_builders import noisy_scene, oracle_scene, replaced, with_predictions


def with_features(scene, make):
    old = [view.filled[0] for view in scene.views]
    features = [FeatureMap(make(index, one.values), one.grid) for index, one in enumerate(old)]
    pairs = zip(scene.views, features, strict=True)
    return replace(scene, views=[replaced(view, features=one) for view, one in pairs])


@pytest.fixture(scope="module")
def scene():
    return oracle_scene("labels", view_count=4)


@pytest.mark.parametrize(
    ("metric", "sigmas", "least"), [(rho, (0.0, 0.3, 1.0), 0.97), (label_kappa, (0.0, 0.2, 0.6), 0.9)]
)
def test_what_is_of_the_world_agrees_and_noise_lowers_agreement(scene, metric, sigmas, least):
    # What is left is bilinear reading between cells of 4 pixels.
    values = [metric.score(noisy_scene(scene, sigma)).value for sigma in sigmas]
    assert values[0] > least
    assert values[0] > values[1] > values[2]


def test_a_constant_map_has_collapsed_and_rank_counts_directions(scene):
    constant = with_features(scene, lambda index, values: torch.full_like(values, 0.7))
    score = rho.score(constant)
    assert math.isnan(score.value)
    assert score.reason.startswith("collapsed")
    assert effective_rank.score(constant).value == pytest.approx(1, abs=1e-3)
    draw = torch.randn(5, 12, 16, generator=torch.Generator().manual_seed(0))
    random = with_features(scene, lambda index, _: draw)
    assert 4.5 < effective_rank.score(random).value <= 5 + 1e-9
    one = with_predictions(scene, lambda values, _: torch.zeros_like(values))
    assert label_kappa.score(one).reason.startswith("collapsed")


def test_rho_equals_its_definition(scene):
    """W and B from all pairs of observations, written out."""
    seen, few = scene.observations, scene.observations.point < 40
    observed = Observations(seen.point[few], seen.view[few], seen.uv[few])
    small = replace(scene, observations=observed, views=noisy_scene(scene, 0.3).views)
    read = [
        sample(small.views[v].filled[0].values, uv.float(), (4.0, 4.0))
        for v, uv in zip(observed.view.tolist(), observed.uv, strict=True)
    ]
    unit = torch.nn.functional.normalize(torch.stack(read), dim=1).double()
    distance = 1 - unit @ unit.T
    rows = [torch.nonzero(observed.point == p)[:, 0] for p in observed.point.unique().tolist()]
    within = torch.stack([distance[r][:, r].sum() / (len(r) * (len(r) - 1)) for r in rows]).mean()
    between = torch.stack([distance[p][:, q].mean() for p in rows for q in rows if p is not q]).mean()
    assert rho.score(small).value == pytest.approx(float(1 - within / between), abs=1e-5)


@pytest.mark.parametrize(
    ("votes", "observed", "expected"),
    [
        # Fleiss 1971: two points, three raters.
        ([(7, 7, 7), (7, 9, 9)], (1 + 1 / 3) / 2, (4 / 6) ** 2 + (2 / 6) ** 2),
        ([(1, 1, 1), (2, 2), (3, 3)], 1, 3 / 9),
        # Different numbers of raters; a point with one rating does not count.
        ([(0, 0), (0, 1), (1, 1, 1, 1), (5,)], (1 + 0 + 1) / 3, 0.5**2 + 0.5**2),
    ],
)
def test_kappa_by_hand(votes, observed, expected):
    point = torch.tensor([number for number, given in enumerate(votes) for _ in given])
    score = fleiss_kappa(point, torch.tensor([label for given in votes for label in given]))
    assert score.value == pytest.approx((observed - expected) / (1 - expected))
    assert score.weight == sum(len(given) > 1 for given in votes)


def test_fewer_views_than_numbered_points_leave_no_ghosts(scene):
    """Points may be numbered with gaps: the gaps are not points."""
    spread = replace(scene, observations=replace(scene.observations, point=scene.observations.point * 3 + 5))
    assert rho.score(spread) == rho.score(scene)
    assert label_kappa.score(spread) == label_kappa.score(scene)
