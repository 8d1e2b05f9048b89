"""A metric from one function: the decorator adds the spec, its id is the function's name, and its body the formula."""

from collections.abc import Callable
from typing import TypedDict, Unpack

from lift3d.domain.scores import Score
from lift3d.metrics.protocol import Better, Matches, Metric, MetricSpec, Need, SceneEvidence, ViewEvidence

SHORT_RANGE_DEG = (0.0, 15.0)
LONG_RANGE_DEG = (15.0, 45.0)

ViewFormula = Callable[[ViewEvidence], Score]
PairFormula = Callable[[ViewEvidence, ViewEvidence, Matches], Score]
SceneFormula = Callable[[SceneEvidence], Score]


class Options(TypedDict, total=False):
    """What a metric may say besides, as ``MetricSpec`` has it."""

    kinds: tuple[str, ...]
    quantities: tuple[str, ...]
    needs: tuple[Need, ...]
    stage_version: int


def view_metric(better: Better, **options: Unpack[Options]) -> Callable[[ViewFormula], Metric]:
    """Make a view metric of the function below."""
    return lambda formula: Metric(MetricSpec(formula.__name__, "view", better, **options), formula)


def scene_metric(better: Better, **options: Unpack[Options]) -> Callable[[SceneFormula], Metric]:
    """Make a scene metric of the function below."""
    return lambda formula: Metric(MetricSpec(formula.__name__, "scene", better, **options), formula)


def pair_metrics(better: Better, formula: PairFormula, **options: Unpack[Options]) -> tuple[Metric, Metric]:
    """Make two metrics of a function, ``NAME_short`` and ``NAME_long``: over near and over distant pairs of views."""
    options["needs"] = ("geometry",)
    ranges = {"short": SHORT_RANGE_DEG, "long": LONG_RANGE_DEG}
    specs = (
        MetricSpec(f"{formula.__name__}_{name}", "pair", better, angles_deg=angles, **options)
        for name, angles in ranges.items()
    )
    short, long = (Metric(spec, formula) for spec in specs)
    return short, long


def undefined(code: str, sentence: str) -> Score:
    """Return the score of something that cannot be measured, with the reason a row shows."""
    return Score(float("nan"), 0.0, f"{code}: {sentence}")
