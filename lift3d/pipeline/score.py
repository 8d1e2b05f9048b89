"""Score: what lifted views, read from the store, say beside the plain answers and the true views."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import get_args

import torch

from lift3d.config import Recipe
from lift3d.domain.keys import ViewId
from lift3d.domain.records import RAW2D, LiftedProduct
from lift3d.domain.scene import UNKNOWN_LABEL, Frame, ScoringGeometry
from lift3d.domain.scores import ALL_PIXELS, COMMON_PIXELS, ScoreRow
from lift3d.domain.target import Target
from lift3d.errors import NoOverlapError
from lift3d.metrics.correspondence import Correspondence, PairMatches, correspond
from lift3d.metrics.counting import collect_observations
from lift3d.metrics.depth_surface import DepthSurface
from lift3d.metrics.protocol import Need, Observations, SceneEvidence
from lift3d.metrics.scoring import ScoredItem, applies, score_scene
from lift3d.metrics.track_surface import TrackSurface
from lift3d.operators.protocol import OperatorSpec
from lift3d.pipeline.device import on_host
from lift3d.pipeline.evidence import LiftedParts, StoredEvidence
from lift3d.pipeline.inputs import Report, SceneInputs
from lift3d.pipeline.models import Models
from lift3d.pipeline.stored_views import read_skipped
from lift3d.pipeline.tracks import tracks_of

_SAW_TARGET = (
    "surface-saw-target: the scene's surface was estimated with this view, too: agreement may be claimed, nearness to "
    "the view's own answer or to the truth may not; hold views out (--holdout N)"
)
# What operators call whatever is none of their other labels.
BACKGROUND = "background"


def score_products(
    inputs: SceneInputs,
    recipe: Recipe,
    models: Models,
    targets: Sequence[Target],
    products: Sequence[LiftedProduct],
    report: Report,
) -> list[ScoreRow]:
    """Return the rows of every operator's products."""
    scoring = _Scoring(inputs, recipe, models, targets, report)
    rows: list[ScoreRow] = []
    for operator in models.operators:
        own = [product for product in products if product.operator == operator.spec.name and product.parts]
        rows += scoring.rows(operator.spec, own)
        inputs.computed["scores"] += 1
    return rows


class _Scoring:
    """What all operators of a scene share: how its target views correspond."""

    def __init__(
        self, inputs: SceneInputs, recipe: Recipe, models: Models, targets: Sequence[Target], report: Report
    ) -> None:
        self._inputs = inputs
        self._recipe = recipe
        self._run = recipe.run_id
        self._metrics = models.metrics
        # Leaving one view out in turn, all of them have a part in the one surface.
        is_seen = recipe.protocol == "leave-one-out"
        self._has_seen = {one.spec.name for one in models.lifters if one.spec.is_anchored and is_seen}
        self._targets = [target for target in targets if target.view is not None]
        self._report = report
        self._tell: Callable[[], None] = partial(report, "score", 0, 1)

    @cached_property
    def _shared(self) -> tuple[Correspondence, ScoringGeometry]:
        return corresponding(self._inputs, self._targets, self._report)

    def _shared_for(self, operator: OperatorSpec) -> tuple[Correspondence, ScoringGeometry]:
        """Return how views correspond, which nobody looks for if no metric compares the operator's views."""
        compared = (
            applies(one.spec, operator.prediction_kind, get_args(Need), operator.quantity)
            for one in self._metrics
            if one.spec.scope == "pair" or "geometry" in one.spec.needs
        )
        return self._shared if any(compared) else (_nothing_corresponds(), "none")

    def rows(self, operator: OperatorSpec, products: Sequence[LiftedProduct]) -> Iterator[ScoreRow]:
        """Yield the rows of one operator: every lifter, raw2d included, over all pixels and over the common ones."""
        self._correspondence, self._geometry = self._shared_for(operator)
        self._tell = partial(self._report, f"score {operator.name}", 0, len(products))
        # Told with every part that is read and every figure: a worker that says nothing for long is taken for hung.
        parts = LiftedParts(self._inputs.store, products, lambda: self._tell())
        for done, product in enumerate(products):
            self._tell = partial(self._report, f"score {operator.name}", done, len(products))
            yield from self._skipped_rows(product)
            if not self._targets:
                yield from self._coverage_rows(product, parts)
                continue
            names = [
                target.id
                for target in self._targets
                if parts.has(product.lifter, target.id) and parts.has(RAW2D, target.id)
            ]
            for pixels in (ALL_PIXELS, COMMON_PIXELS):
                is_common = pixels == COMMON_PIXELS
                if is_common and (len(products) < 3 or not names):
                    continue
                views = StoredEvidence(
                    parts, product.lifter, names, self._true_frame(operator), operator.quantity, is_common=is_common
                )
                evidence = _restricted(self._correspondence, [target.id for target in self._targets], names, views)
                restores = operator.restores
                for item in score_scene(self._metrics, evidence, operator.name, restores=restores, tell=self._tell):
                    yield self._row(item, operator, product, pixels)

    def _true_frame(self, operator: OperatorSpec) -> Callable[[ViewId], Frame]:
        """Return what gives the true frame of a view, in an operator's labels."""
        return lambda name: in_labels_of(operator, self._inputs.frame(name), self._inputs.scene.label_names)

    def _coverage_rows(self, product: LiftedProduct, parts: LiftedParts) -> Iterator[ScoreRow]:
        """Novel cameras have no true image to compare with; how much of them is covered can be said."""
        for name in parts.views(product.lifter):
            view = parts.view(product.lifter, name)
            covered = float(view.lifted[0].coverage.double().mean())
            bare = self._bare_row(product, "coverage", name, "")
            yield replace(
                bare, value=covered, weight=float(view.lifted[0].coverage.numel()), coverage=covered, outcome="ok"
            )

    def _skipped_rows(self, product: LiftedProduct) -> Iterator[ScoreRow]:
        for path in product.parts:
            for target, reason in read_skipped(self._inputs.store, path):
                yield self._bare_row(product, "lift", target, reason)

    def _bare_row(
        self, product: LiftedProduct, metric: str, target: str, reason: str, pixels: str = ALL_PIXELS
    ) -> ScoreRow:
        return ScoreRow(
            run=self._run,
            scene=self._inputs.scene.id,
            target=target,
            operator=product.operator,
            lifter=product.lifter,
            target_mode=self._recipe.row_target_mode,
            metric=metric,
            protocol=f"{self._recipe.protocol}/{pixels}",
            outcome="skipped",
            reason=reason,
        )

    def _row(self, item: ScoredItem, operator: OperatorSpec, product: LiftedProduct, pixels: str) -> ScoreRow:
        needs = item.metric.needs
        if product.lifter in self._has_seen and item.metric.is_fidelity:
            return self._bare_row(product, item.metric.name, item.target, _SAW_TARGET, pixels)
        return replace(
            self._bare_row(product, item.metric.name, item.target, item.score.reason, pixels),
            other=item.other,
            # Decisions are compared with labels; no other figure depends on where they are cut.
            threshold_source=operator.threshold_source if "labels" in needs else "",
            scoring_geometry=self._geometry if "geometry" in needs else "none",
            value=item.score.value,
            weight=item.score.weight,
            coverage=math.nan if product.is_plain else item.coverage,
            outcome=item.outcome,
        )


def in_labels_of(operator: OperatorSpec, frame: Frame, label_names: Mapping[int, str]) -> Frame:
    """Return a true frame whose labels are those of an operator that names its own, by name; else as it is."""
    if not operator.label_names or frame.labels is None:
        return frame
    number = {name: index for index, name in enumerate(operator.label_names)}
    background = number.get(BACKGROUND, UNKNOWN_LABEL)
    labels = torch.full_like(frame.labels, background)
    labels[frame.labels == UNKNOWN_LABEL] = UNKNOWN_LABEL
    for own, name in label_names.items():
        if name in number:
            labels[frame.labels == own] = number[name]
    return replace(frame, labels=labels)


def corresponding(
    inputs: SceneInputs, targets: Sequence[Target], report: Report
) -> tuple[Correspondence, ScoringGeometry]:
    """Return how the captured targets correspond; without common texture a scene has no scoring geometry at all."""
    if len(targets) < 2:
        return _nothing_corresponds(), "none"
    views = [inputs.views[target.id] for target in targets]
    if all(view.source.has_depth for view in views):
        return correspond(DepthSurface(inputs.frame(view.id) for view in views), report=report), "depth"
    # Tracks are few, and found on the host.
    with on_host():
        try:
            # They are made from all views, targets or not.
            surface = TrackSurface(tracks_of(inputs), views, [target.camera for target in targets])
        except NoOverlapError:
            return _nothing_corresponds(), "none"
        found = correspond(surface, report=report)
    return found.to(torch.get_default_device()), "tracks"


def _nothing_corresponds() -> Correspondence:
    none = torch.zeros(0, dtype=torch.long)
    return Correspondence(PairMatches.none(), Observations(none, none.clone(), torch.zeros(0, 2)))


def _restricted(
    all_views: Correspondence, targets: Sequence[str], names: Sequence[str], views: StoredEvidence
) -> SceneEvidence:
    """Return the correspondence of those targets that have a lifted view."""
    number = {target: index for index, target in enumerate(targets)}
    position = {number[name]: index for index, name in enumerate(names)}
    observations = all_views.observations
    renumbered = torch.tensor([position.get(index, -1) for index in range(len(targets))], dtype=torch.long)
    view = renumbered[observations.view]
    keep = view >= 0
    shown = collect_observations(observations.point[keep], view[keep], observations.uv[keep])
    return SceneEvidence(views, all_views.matches.renumbered(position), shown)
