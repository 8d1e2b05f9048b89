"""All metrics over all the evidence of one scene, operator and lifter."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import get_args

from lift3d.domain.scene import Frame
from lift3d.domain.scores import Outcome, Score
from lift3d.errors import NonFiniteError, ShapeError
from lift3d.metrics.counting import cells_of
from lift3d.metrics.figures import undefined, view_metric
from lift3d.metrics.protocol import Metric, MetricSpec, Need, SceneEvidence, Scope, ViewEvidence

# What is of one camera: two true answers about one point differ from view to view.
PER_CAMERA = ("depth", "disparity", "direction")
# Views that lie together, as far as scoring knows; a multiple of what is read at once.
BLOCK = 64


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
    if not evidence.views:
        return []
    kind, quantity = evidence.views[0].lifted.prediction.kind, evidence.views[0].quantity
    # A pass over all views, each of which may have to be read for it.
    given: set[Need] = {"geometry", "truth"} if restores else {"geometry"}
    coverages, names = [], []
    for view in evidence.views:
        _check(view)
        given |= _annotated(view.frame)
        coverages.append(coverage.score(view).value)
        names.append(view.lifted.target)
    chosen = [metric for metric in metrics if applies(metric.spec, kind, given, quantity)]
    of_views, of_pairs, of_scene = ([one for one in chosen if one.spec.scope == scope] for scope in get_args(Scope))
    items = []
    for item in chain(
        _score_views(of_views, evidence, coverages),
        _score_pairs(of_pairs, evidence, coverages),
        (ScoredItem(one.spec, "", "", one.score(evidence), _mean(coverages)) for one in of_scene),
    ):
        _check_finite(item, operator)
        items.append(item)
        tell()
    # As they come, figures lie by the views that they are of.
    place = {metric.spec.name: number for number, metric in enumerate(chosen)}
    at = {"": len(names), **{name: number for number, name in enumerate(names)}}
    return sorted(items, key=lambda item: (place[item.metric.name], at[item.target], at[item.other]))


def applies(spec: MetricSpec, kind: str, given: Collection[Need], quantity: str = "invariant") -> bool:
    """Whether a metric is meant for this kind of prediction and this quantity, and what it needs is given.

    A metric that compares views, and names no quantity, is of answers that are the same from everywhere.
    """
    if spec.quantities:
        is_meant = quantity in spec.quantities
    else:
        is_meant = "geometry" not in spec.needs or quantity not in PER_CAMERA
    return is_meant and (not spec.kinds or kind in spec.kinds) and set(spec.needs) <= {*given}


def _annotated(frame: Frame) -> set[Need]:
    """Return what there is of a frame to measure with; geometry is always, as its lack is a reason worth a row."""
    given: set[Need] = set()
    if frame.labels is not None:
        given.add("labels")
    if frame.instances is not None:
        given.add("instances")
    if frame.z_depth is not None:
        given.add("depth")
    return given


def _score_views(
    metrics: Sequence[Metric], evidence: SceneEvidence, coverages: Sequence[float]
) -> Iterator[ScoredItem]:
    for view, covered in zip(evidence.views if metrics else (), coverages, strict=False):
        for metric in metrics:
            yield ScoredItem(metric.spec, view.lifted.target, "", metric.score(view), covered)


def _score_pairs(
    metrics: Sequence[Metric], evidence: SceneEvidence, coverages: Sequence[float]
) -> Iterator[ScoredItem]:
    """Yield all figures of a pair before the next: they read the same places (``counting.Corners``)."""
    lacking = {metric.spec.name: metric.spec for metric in metrics}
    for index_a, index_b in sorted(evidence.matches, key=_near_each_other):
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


def _near_each_other(pair: tuple[int, int]) -> tuple[int, int, int, int]:
    """Sort pairs such that those of the same two blocks of views follow each other: blocks may be read for them."""
    return pair[0] // BLOCK, pair[1] // BLOCK, *pair


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
