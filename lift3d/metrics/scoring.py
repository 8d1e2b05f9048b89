"""All metrics over all the evidence of one scene, operator and lifter."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from lift3d.domain.scene import Frame
from lift3d.domain.scores import Outcome, Score
from lift3d.errors import NonFiniteError, ShapeError
from lift3d.metrics.counting import cells_of
from lift3d.metrics.figures import undefined, view_metric
from lift3d.metrics.protocol import Metric, MetricSpec, Need, SceneEvidence, ViewEvidence

# What is of one camera: two true answers about one point differ from view to view.
PER_CAMERA = ("depth", "disparity", "direction")


@view_metric("higher")
def coverage(evidence: ViewEvidence) -> Score:
    """Mean coverage of the first cut over cells that count: the share of the view that some source sees."""
    lifted = evidence.lifted.lifted[0]
    values = lifted.coverage[cells_of(evidence, lifted.features.grid)].double()
    if values.numel() == 0:
        return undefined("no-pixels", "no cell of the view counts")
    return Score(float(values.mean()), float(values.numel()))


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """A figure and what it is of; a pipeline adds run, scene, operator, lifter and protocol to make a row.

    ``target`` is empty for figures of a whole scene, ``other`` for all but pairs. ``coverage`` is the mean of the
    lifted view(s) behind the figure, NaN where nothing counts.
    """

    metric: MetricSpec
    target: str
    other: str
    score: Score
    coverage: float

    @property
    def outcome(self) -> Outcome:
        """Whether there is a figure: ok, or skipped with the reason of the score."""
        return "ok" if math.isfinite(self.score.value) else "skipped"


def score_scene(
    metrics: Sequence[Metric],
    evidence: SceneEvidence,
    operator: str,
    *,
    restores: bool = False,
    tell: Callable[[], None] = lambda: None,
) -> list[ScoredItem]:
    """Return every figure that applies to the evidence, view metrics first, then pairs, then the scene.

    A metric for another kind of prediction, or for something that no view has, gives no item. One that applies but has
    nothing to measure gives an item with a reason. ``restores`` says whether the operator's answer means to be the true
    image; ``tell`` is called with every figure. ShapeError if a prediction has not the size of its frame,
    NonFiniteError if a figure is not finite for no stated reason.
    """
    views = evidence.views
    if not views:
        return []
    for view in views:
        _check(view)
    kind, quantity = views[0].lifted.prediction.kind, views[0].quantity
    given = _given([view.frame for view in views], restores)
    chosen = [metric for metric in metrics if applies(metric.spec, kind, given, quantity)]
    coverages = [coverage.score(view).value for view in views]
    pair_metrics = [metric for metric in chosen if metric.spec.scope == "pair"]
    one_by_one = (_score(metric, evidence, coverages) for metric in chosen if metric not in pair_metrics)
    items = []
    for item in chain(*one_by_one, _score_pairs(pair_metrics, evidence, coverages)):
        _check_finite(item, operator)
        items.append(item)
        tell()
    place = {metric.spec.name: number for number, metric in enumerate(chosen)}
    return sorted(items, key=lambda item: place[item.metric.name])


def applies(spec: MetricSpec, kind: str, given: Collection[Need], quantity: str = "invariant") -> bool:
    """Whether a metric is meant for this kind of prediction and this quantity, and what it needs is given.

    A metric that compares views, and names no quantity, is of answers that are the same from everywhere.
    """
    if spec.quantities:
        is_meant = quantity in spec.quantities
    else:
        is_meant = "geometry" not in spec.needs or quantity not in PER_CAMERA
    return is_meant and (not spec.kinds or kind in spec.kinds) and set(spec.needs) <= {*given}


def _given(frames: Sequence[Frame], restores: bool) -> set[Need]:
    """Return what there is to measure with; geometry always, as its lack is a reason that is worth a row."""
    given: set[Need] = {"geometry"}
    if restores:
        given.add("truth")
    if any(frame.labels is not None for frame in frames):
        given.add("labels")
    if any(frame.instances is not None for frame in frames):
        given.add("instances")
    if any(frame.z_depth is not None for frame in frames):
        given.add("depth")
    return given


def _score(metric: Metric, evidence: SceneEvidence, coverages: Sequence[float]) -> Iterator[ScoredItem]:
    spec = metric.spec
    if spec.scope == "view":
        for view, covered in zip(evidence.views, coverages, strict=True):
            yield ScoredItem(spec, view.lifted.target, "", metric.score(view), covered)
    else:
        yield ScoredItem(spec, "", "", metric.score(evidence), _mean(coverages))


def _score_pairs(
    metrics: Sequence[Metric], evidence: SceneEvidence, coverages: Sequence[float]
) -> Iterator[ScoredItem]:
    """Yield all figures of a pair before the next: they read the same places (``counting.Corners``)."""
    lacking = {metric.spec.name: metric.spec for metric in metrics}
    for index_a, index_b in sorted(evidence.matches):
        a, b, matches = evidence.views[index_a], evidence.views[index_b], evidence.matches[index_a, index_b]
        covered = _mean((coverages[index_a], coverages[index_b]))
        for metric in metrics:
            low, high = metric.spec.angles_deg
            if low <= matches.angle_deg < high:
                lacking.pop(metric.spec.name, None)
                score = metric.score(a, b, matches)
                yield ScoredItem(metric.spec, a.lifted.target, b.lifted.target, score, covered)
    for spec in lacking.values():
        low, high = spec.angles_deg
        reason = undefined("no-pairs", f"no two target views see the same surface {low:g} to {high:g} degrees apart")
        yield ScoredItem(spec, "", "", reason, float("nan"))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else float("nan")


def _check(view: ViewEvidence) -> None:
    size = tuple(view.counts.shape)
    if size != tuple(view.frame.is_valid.shape):
        raise ShapeError(f"Counted pixels have size {size}, the frame {tuple(view.frame.is_valid.shape)}.")
    for answer in (view.lifted.prediction, view.plain.prediction):
        if answer.kind != "embedding" and tuple(answer.values.shape[-2:]) != size:
            raise ShapeError(
                f"View '{view.lifted.target}': a prediction of kind '{answer.kind}' has size "
                f"{tuple(answer.values.shape[-2:])}, its frame {size}. Decode at the size of the frame.",
                view=view.lifted.target,
            )


def _check_finite(item: ScoredItem, operator: str) -> None:
    if not math.isfinite(item.score.value) and not item.score.reason:
        raise NonFiniteError(
            f"Metric '{item.metric.name}' of view '{item.target}' came out as {item.score.value}; "
            f"features and predictions must be finite where pixels count. Look for NaN in '{operator}'.",
            view=item.target or None,
            operator=operator,
        )
