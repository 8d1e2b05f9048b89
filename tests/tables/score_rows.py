"""Rows for tests of tables."""

from lift3d.domain.scores import ScoreRow

ABOUT = {"run": "r", "scene": "s", "target": "v0", "operator": "rgb", "lifter": "plane_sweep", "metric": "psnr"}
CHOSEN = {"target_mode": "heldout", "protocol": "heldout-8/all"}
FIGURES = {"value": 0.5, "weight": 100.0, "coverage": 0.9, "outcome": "ok"}


def score_row(**changed):
    return ScoreRow(**{**ABOUT, **CHOSEN, **FIGURES, **changed})


def missing_row(**changed):
    fields = {"value": float("nan"), "weight": 0.0, "outcome": "skipped", "reason": "no-overlap: nothing to see"}
    return score_row(**{**fields, **changed})
