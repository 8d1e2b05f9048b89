"""A metric from one function: the decorator adds the spec, the function is the formula.

The name of the function is the metric's id; the first paragraph of its docstring is the summary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lift3d.domain.scores import Score
from lift3d.metrics.protocol import Matches, MetricSpec, Need, SceneEvidence, Scope, ViewEvidence

Better = Literal["higher", "lower", "neither"]
ViewFormula = Callable[[ViewEvidence], Score]
PairFormula = Callable[[ViewEvidence, ViewEvidence, Matches], Score]
SceneFormula = Callable[[SceneEvidence], Score]


@dataclass(frozen=True, slots=True)
class ViewFigure:
    """A view metric made of a function."""

    spec: MetricSpec
    formula: ViewFormula

    def score(self, evidence: ViewEvidence) -> Score:
        """Return the figure."""
        return self.formula(evidence)


@dataclass(frozen=True, slots=True)
class PairFigure:
    """A pair metric made of a function."""

    spec: MetricSpec
    formula: PairFormula

    def score(self, a: ViewEvidence, b: ViewEvidence, matches: Matches) -> Score:
        """Return the figure."""
        return self.formula(a, b, matches)


@dataclass(frozen=True, slots=True)
class SceneFigure:
    """A scene metric made of a function."""

    spec: MetricSpec
    formula: SceneFormula

    def score(self, evidence: SceneEvidence) -> Score:
        """Return the figure."""
        return self.formula(evidence)


def view_metric(
    better: Better,
    *,
    kinds: tuple[str, ...] = (),
    quantities: tuple[str, ...] = (),
    needs: tuple[Need, ...] = (),
    stage_version: int = 1,
) -> Callable[[ViewFormula], ViewFigure]:
    """Make a view metric of the function below."""

    def wrap(formula: ViewFormula) -> ViewFigure:
        name, summary = _name_and_summary(formula)
        spec = MetricSpec(name, stage_version, "view", kinds, better, needs, summary, quantities=quantities)
        return ViewFigure(spec, formula)

    return wrap


def scene_metric(
    better: Better,
    *,
    kinds: tuple[str, ...] = (),
    quantities: tuple[str, ...] = (),
    needs: tuple[Need, ...] = (),
    stage_version: int = 1,
) -> Callable[[SceneFormula], SceneFigure]:
    """Make a scene metric of the function below."""

    def wrap(formula: SceneFormula) -> SceneFigure:
        name, summary = _name_and_summary(formula)
        spec = MetricSpec(name, stage_version, "scene", kinds, better, needs, summary, quantities=quantities)
        return SceneFigure(spec, formula)

    return wrap


def pair_metric(
    better: Better,
    angles_deg: tuple[float, float],
    *,
    kinds: tuple[str, ...] = (),
    quantities: tuple[str, ...] = (),
    stage_version: int = 1,
) -> Callable[[PairFormula], PairFigure]:
    """Make a metric over pairs of views within a range of baseline angles of the function below."""
    scope: Scope = "pair"

    def wrap(formula: PairFormula) -> PairFigure:
        name, summary = _name_and_summary(formula)
        spec = MetricSpec(name, stage_version, scope, kinds, better, ("geometry",), summary, angles_deg, quantities)
        return PairFigure(spec, formula)

    return wrap


def undefined(code: str, sentence: str) -> Score:
    """Return the score of something that cannot be measured, with the reason a row shows."""
    return Score(float("nan"), 0.0, f"{code}: {sentence}")


def _name_and_summary(formula: Callable[..., Score]) -> tuple[str, str]:
    paragraph = (formula.__doc__ or "").split("\n\n")[0]
    return formula.__name__, " ".join(paragraph.split())
