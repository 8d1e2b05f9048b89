"""Agreement of all target views about the same surface points: ρ with its collapse guard, and Fleiss' κ."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lift3d.domain.scores import Score
from lift3d.metrics.counting import Corners, Reading, cells_of, rows_of_views
from lift3d.metrics.figures import scene_metric, undefined
from lift3d.metrics.protocol import SceneEvidence, ViewEvidence

# Rounding features to float16 makes cosine distances of about 2.5e-7: less spread than this is no signal.
COLLAPSED_SPREAD = 1e-6


@scene_metric("higher", needs=("geometry",))
def rho(evidence: SceneEvidence) -> Score:
    """ρ = 1 − W / B: W mean cosine distance between views of a point, B between points; 1 perfect, 0 random.

    Features of the first cut are read at the observations, and every point weighs the same. A map that is the
    same everywhere would agree with itself for free: B near 0 gives NaN with the reason ``collapsed``.
    """
    mean, view_count = _means_of(evidence)
    if len(mean) < 2:
        return undefined("no-sightings", "fewer than two surface points are seen by two target views")
    between = _spread_between(mean)
    if between <= COLLAPSED_SPREAD:
        rank = _effective_rank(mean)
        return undefined("collapsed", f"features are the same everywhere (spread {between:.1e}, rank {rank:.2f})")
    return Score(1 - _spread_within(mean, view_count) / between, float(len(mean)))


@scene_metric("neither", needs=("geometry",))
def effective_rank(evidence: SceneEvidence) -> Score:
    """Effective rank of the points' mean directions: exp(entropy of their normalised singular values).

    Source: Roy & Vetterli, The effective rank, EUSIPCO 2007, eq. 5.

    It is 1 if all features point the same way, and reads beside ρ: little left to disagree about is no merit.
    """
    mean, _ = _means_of(evidence)
    if len(mean) < 2:
        return undefined("no-sightings", "fewer than two surface points are seen by two target views")
    return Score(_effective_rank(mean), float(len(mean)))


@scene_metric("higher", kinds=("labels",), needs=("geometry",))
def label_kappa(evidence: SceneEvidence) -> Score:
    """κ = (P − Pₑ) / (1 − Pₑ) over surface points: agreement between views beyond that of label frequencies.

    Fleiss' κ in its form for points seen by different numbers of views (Gwet, Handbook of Inter-Rater
    Reliability, 2014, ch. 2). One label everywhere gives NaN with the reason ``collapsed``.
    """
    labels, points = [], []
    by_view = rows_of_views(evidence.observations.view, len(evidence.views))
    for view, mine in zip(evidence.views, by_view, strict=True):
        uv = evidence.observations.uv[mine]
        found = Reading.of(view, uv)
        labels.append(found.at(found.counts)[:, 0].long())
        points.append(evidence.observations.point[mine][found.counts])
    if not labels or sum(len(found) for found in labels) == 0:
        return undefined("no-sightings", "no surface point is seen by two target views")
    return fleiss_kappa(torch.cat(points), torch.cat(labels))


def fleiss_kappa(point: Int[Tensor, " rating"], label: Int[Tensor, " rating"]) -> Score:
    """Return κ of ratings: which point, which label. Points with one rating are left out.

    Source:
        Fleiss, Psychological Bulletin 1971, eq. 1-7, for varying numbers of raters as Gwet 2014, ch. 2.
    """
    _, point, rating_count = torch.unique(point, return_inverse=True, return_counts=True)
    is_used = rating_count[point] >= 2
    if not bool(is_used.any()):
        return undefined("no-sightings", "no surface point is seen by two target views where pixels count")
    _, point, rating_count = torch.unique(point[is_used], return_inverse=True, return_counts=True)
    classes, label = torch.unique(label[is_used], return_inverse=True)
    raters = rating_count.double()
    # Sparse table of how many views give point p label k: only pairs that occur.
    pair, pair_count = torch.unique(point * len(classes) + label, return_counts=True)
    votes, voted_point, voted_label = pair_count.double(), pair // len(classes), pair % len(classes)
    agreeing = torch.zeros_like(raters).index_add_(0, voted_point, votes * (votes - 1))
    observed = float((agreeing / (raters * (raters - 1))).mean())
    frequency = torch.zeros(len(classes), dtype=torch.float64)
    frequency.index_add_(0, voted_label, votes / raters[voted_point])
    expected = float((frequency / len(raters)).square().sum())
    if len(classes) == 1:
        return undefined("collapsed", "all views give every point the same label")
    return Score((observed - expected) / (1 - expected), float(len(raters)))


def _means_of(evidence: SceneEvidence) -> tuple[Float[Tensor, "point channel"], Float[Tensor, " point"]]:
    if not evidence.means:
        evidence.means.append(_pointwise_means(evidence))
    return evidence.means[0]


def _pointwise_means(
    evidence: SceneEvidence,
) -> tuple[Float[Tensor, "point channel"], Float[Tensor, " point"]]:
    """Return means of unit features per surface point, and how many views each is the mean of (two or more).

    Summed view by view: memory is points × channels, whatever the number of views.
    """
    point_count = int(evidence.observations.point.max()) + 1 if len(evidence.observations.point) else 0
    channel_count = evidence.views[0].filled[0].channel_count
    total = torch.zeros(point_count, channel_count, dtype=torch.float64)
    view_count = torch.zeros(point_count, dtype=torch.float64)
    by_view = rows_of_views(evidence.observations.view, len(evidence.views))
    for view, mine in zip(evidence.views, by_view, strict=True):
        direction, is_usable = _unit_features(view, evidence.observations.uv[mine])
        point = evidence.observations.point[mine][is_usable]
        total.index_add_(0, point, direction[is_usable])
        view_count.index_add_(0, point, torch.ones(len(point), dtype=torch.float64))
    is_shared = view_count >= 2
    return total[is_shared] / view_count[is_shared, None], view_count[is_shared]


def _unit_features(
    view: ViewEvidence, uv: Float[Tensor, "point 2"]
) -> tuple[Float[Tensor, "point channel"], Bool[Tensor, " point"]]:
    feature_map = view.filled[0]
    corners = Corners.bilinear(uv, feature_map.grid)
    values = corners.read(feature_map.values)
    norm = values.norm(dim=1)
    counts = corners.count(cells_of(view, feature_map.grid))
    return values / norm[:, None], counts & (norm != 0)


def _spread_within(mean: Float[Tensor, "point channel"], count: Float[Tensor, " point"]) -> float:
    """Return E_p mean_{i<j} (1 − cos), from ‖Σᵢ gᵢ‖² = n + 2 Σ_{i<j} cos for unit vectors."""
    cosine = (count.square() * mean.square().sum(1) - count) / (count * (count - 1))
    return float((1 - cosine).mean())


def _spread_between(mean: Float[Tensor, "point channel"]) -> float:
    """Return E_{p≠q} (1 − cos), all pairs of points alike, from the sum of the points' mean directions."""
    count = len(mean)
    crossed = mean.sum(0).square().sum() - mean.square().sum()
    return float(1 - crossed / (count * (count - 1)))


def _effective_rank(mean: Float[Tensor, "point channel"]) -> float:
    gram = mean.T @ mean if mean.shape[0] > mean.shape[1] else mean @ mean.T
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = singular / singular.sum()
    return float(torch.exp(-torch.xlogy(share, share).sum()))
