"""One number of the table, with everything needed to know what it means. Light: no torch, no pandas."""

import math
from dataclasses import dataclass
from typing import Literal

from lift3d.errors import ContractError

# Which pixels a figure counts: all valid ones with holes as filled, or those that every lifter of the run covers.
ALL_PIXELS, COMMON_PIXELS = "all", "common"

Outcome = Literal["ok", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Score:
    """A value in the metric's own unit, and the pixels, points or pairs behind it; NaN, 0 and a reason if undefined."""

    value: float
    weight: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One row of the score table; without a value unless one is given.

    Attributes:
        run: Digest of the recipe.
        target: Target view; empty for figures of a whole scene.
        other: The second view of a pair; empty otherwise.
        lifter: Lifter name, or raw2d.
        target_mode: heldout, refine or novel.
        protocol: How targets, pairs and pixels were chosen, e.g. heldout-8/all.
        threshold_source: Where a threshold came from; empty if there is none.
        scoring_geometry: depth, tracks or none.
        value: Finite exactly if outcome is ok.
        weight: Pixels, points or pairs behind the value.
        coverage: Mean coverage of the lifted view(s), NaN if not applicable.
        reason: Short code and sentence for skipped and failed rows.
    """

    run: str
    scene: str
    target: str = ""
    other: str = ""
    operator: str = ""
    lifter: str = ""
    target_mode: str
    metric: str
    protocol: str
    threshold_source: str = ""
    scoring_geometry: str = "none"
    value: float = math.nan
    weight: float = 0.0
    coverage: float = math.nan
    outcome: Outcome
    reason: str = ""

    def __post_init__(self) -> None:
        if math.isfinite(self.value) != (self.outcome == "ok"):
            raise ContractError(
                f"A score row is finite exactly if its outcome is ok; got {self.value} with '{self.outcome}'."
            )
