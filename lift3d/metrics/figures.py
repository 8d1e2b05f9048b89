"""A metric from one function: the decorator adds the spec, the function is the formula.

The name of the function is the metric's id; the first paragraph of its docstring is the summary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from lift3d.domain.scores import Score
from lift3d.metrics.protocol import Matches, MetricSpec, Need, SceneEvidence, Scope, ViewEvidence

Better = Literal["higher", "lower", "neither"]
ViewFormula = Callable[[ViewEvidence], Score]
PairFormula = Callable[[ViewEvidence, ViewEvidence, Matches], Score]
SceneFormula = Callable[[SceneEvidence], Score]
Formula = TypeVar("Formula", bound=Callable[..., Score])


@dataclass(frozen=True, slots=True)
class Figure(Generic[Formula]):
    """A metric made of a function."""

    spec: MetricSpec
    score: Formula


def view_metric(
    better: Better,
    *,
    kinds: tuple[str, ...] = (),
    quantities: tuple[str, ...] = (),
    needs: tuple[Need, ...] = (),
    stage_version: int = 1,
) -> Callable[[ViewFormula], Figure[ViewFormula]]:
    """Make a view metric of the function below."""
    return lambda formula: Figure(_spec(formula, "view", better, kinds, quantities, needs, stage_version), formula)


def scene_metric(
    better: Better,
    *,
    kinds: tuple[str, ...] = (),
    quantities: tuple[str, ...] = (),
    needs: tuple[Need, ...] = (),
    stage_version: int = 1,
) -> Callable[[SceneFormula], Figure[SceneFormula]]:
    """Make a scene metric of the function below."""
    return lambda formula: Figure(_spec(formula, "scene", better, kinds, quantities, needs, stage_version), formula)


def pair_metric(
    better: Better,
    angles_deg: tuple[float, float],
    *,
    kinds: tuple[str, ...] = (),
    quantities: tuple[str, ...] = (),
    stage_version: int = 1,
) -> Callable[[PairFormula], Figure[PairFormula]]:
    """Make a metric over pairs of views within a range of baseline angles of the function below."""
    return lambda formula: Figure(
        _spec(formula, "pair", better, kinds, quantities, ("geometry",), stage_version, angles_deg), formula
    )


def undefined(code: str, sentence: str) -> Score:
    """Return the score of something that cannot be measured, with the reason a row shows."""
    return Score(float("nan"), 0.0, f"{code}: {sentence}")


def _spec(
    formula: Callable[..., Score],
    scope: Scope,
    better: Better,
    kinds: tuple[str, ...],
    quantities: tuple[str, ...],
    needs: tuple[Need, ...],
    stage_version: int,
    angles_deg: tuple[float, float] = (0.0, 180.0),
) -> MetricSpec:
    summary = " ".join((formula.__doc__ or "").split("\n\n")[0].split())
    return MetricSpec(formula.__name__, stage_version, scope, kinds, better, needs, summary, angles_deg, quantities)
