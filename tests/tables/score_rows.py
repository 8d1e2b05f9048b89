"""Rows for tests of tables."""

from lift3d.domain.scores import ScoreRow


def score_row(**changed):
    fields = {
        "run": "r",
        "scene": "s",
        "target": "v0",
        "other": "",
        "operator": "rgb",
        "lifter": "plane_sweep",
        "target_mode": "heldout",
        "metric": "psnr",
        "protocol": "heldout-8/all",
        "threshold_source": "",
        "scoring_geometry": "none",
        "value": 0.5,
        "weight": 100.0,
        "coverage": 0.9,
        "outcome": "ok",
        "reason": "",
    }
    return ScoreRow(**{**fields, **changed})


def missing_row(**changed):
    fields = {"value": float("nan"), "weight": 0.0, "outcome": "skipped", "reason": "no-overlap: nothing to see"}
    return score_row(**{**fields, **changed})
