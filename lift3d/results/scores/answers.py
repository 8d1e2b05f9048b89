"""What a run answers: how much of the 2D model's disagreement is left, at what sharpness, and how near to the truth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lift3d.domain.records import RAW2D
from lift3d.tables.rendering import Cell, Column, Row, Table
from lift3d.tables.schema import DataFrame

# Pairs of views by the angle between them, the first that has figures: there lifting has the most to do.
REACHES = {"long": "distant views (15° to 45° apart)", "short": "neighbouring views (less than 15° apart)"}
# Answers that differ by less than so many times what the warp itself errs by leave nothing to be lifted.
_LEAST = 1.25
# Nearness to what a capture was annotated with, or to its photographs, where an operator restores them.
_TRUTHS = {"psnr": "PSNR", "miou": "mIoU", "pq": "PQ", "depth_abs_rel": "depth error"}
_LOWER_IS_BETTER = "depth error"
# What agrees more than this is a gain, if it is not bought by blur, which agrees for free, or by truth.
_GAINED, _BLURRED = 0.5, 0.7
# A plain answer as near to the photograph as this is the photograph.
_ITSELF_DB = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One operator lifted by one lifter, in the figures that matter: means as the table has them, NaN where none is.

    Attributes:
        reach: Between which views: a key of REACHES, empty if there is no figure.
        plain: What the plain 2D answers differ by there; ``plain_floor`` is what the warp itself errs by.
        lifted: What the lifted ones differ by, and ``lifted_floor``.
        sharpness: Contrast over that of the plain answers.
        truth: What the nearness to the truth is called, empty if there is none, with the plain and the lifted figure.
        is_photograph: Whether the plain answer is the photograph itself, which contradicts others by its light alone.
    """

    operator: str
    lifter: str
    reach: str = ""
    plain: float = math.nan
    plain_floor: float = math.nan
    lifted: float = math.nan
    lifted_floor: float = math.nan
    sharpness: float = math.nan
    truth: str = ""
    plain_truth: float = math.nan
    lifted_truth: float = math.nan
    is_photograph: bool = False

    @property
    def has_task(self) -> bool:
        """Whether the plain answers disagree by more than the warp."""
        return self.plain > _LEAST * self.plain_floor

    @property
    def left(self) -> float:
        """Of the plain answers' disagreement above the floor, the share that is left; NaN if there was none."""
        if not self.has_task:
            return math.nan
        return max(0.0, self.lifted - self.lifted_floor) / (self.plain - self.plain_floor)

    @property
    def is_farther(self) -> bool:
        """Whether the lifted answers are farther from the truth than the plain ones, in the digits that are shown."""
        apart = round(self.lifted_truth, 3) - round(self.plain_truth, 3)
        return apart > 0 if self.truth == _LOWER_IS_BETTER else apart < 0

    @property
    def is_loss(self) -> bool:
        """Whether views agree less than the plain answers do, in the digits that are shown."""
        return round(self.left, 2) > 1 if self.left == self.left else False

    @property
    def is_gain(self) -> bool:
        """Whether views agree much more, at the price of neither sharpness nor truth."""
        return self.left < _GAINED and not self.is_bought

    @property
    def is_bought(self) -> bool:
        """Whether views may agree because answers are blurred, or farther from the truth."""
        return self.sharpness < _BLURRED or self.is_farther

    @property
    def where(self) -> str:
        """Between which views, in words."""
        return REACHES.get(self.reach, "")


def answers_of(means: DataFrame) -> list[Answer]:
    """Return the answers of a run or of one of its scenes, from the means of scenes; these weigh the same."""
    known = means[(means["ok"] > 0) & (means["lifter"] != "")]
    mean = known.groupby(["operator", "lifter", "metric"], sort=True)["mean"].mean()
    figures: dict[tuple[str, str, str], float] = {key: float(value) for key, value in mean.items()}
    pairs = dict.fromkeys((operator, lifter) for operator, lifter, _ in figures if lifter != RAW2D)
    return [_answer(figures, operator, lifter) for operator, lifter in pairs]


def best_first(answers: Sequence[Answer]) -> list[list[Answer]]:
    """Return the answers of each operator, its best lifter first: the least that is left, and not bought.

    First comes the operator whose views contradict each other most: there lifting has something to do. Photographs
    as their own answers come last: of models there is more to tell.
    """
    found: dict[str, list[Answer]] = {}
    for one in answers:
        found.setdefault(one.operator, []).append(one)
    ranked = [sorted(own, key=lambda one: (math.isnan(one.left), one.is_bought, one.left)) for own in found.values()]
    return sorted(
        ranked,
        key=lambda own: (math.isnan(own[0].plain), own[0].is_photograph, own[0].plain_floor - own[0].plain),
    )


def worst_left(means: DataFrame) -> Mapping[str, float]:
    """Return by scene the largest share that is left, of all operators by their best lifter; none where none has one.

    As of ``answers_of`` of each scene, of all of them at once: there may be very many. Photographs that are their own
    answers count where nothing else has a share.
    """
    known = means[(means["ok"] > 0) & (means["metric"].str.startswith("warp_") | (means["metric"] == "psnr"))]
    wide = known.pivot_table(index=["scene", "operator", "lifter"], columns="metric", values="mean").reset_index()
    both = wide.merge(wide[wide["lifter"] == RAW2D], on=["scene", "operator"], suffixes=("", "_plain"))
    both = both[both["lifter"] != RAW2D]
    left = both["scene"].map({}).astype("float64")
    is_told = left.notna()
    for reach in REACHES:
        error, floor = f"warp_error_{reach}", f"warp_floor_{reach}"
        if error not in wide or floor not in wide:
            continue
        has_task = both[f"{error}_plain"] > _LEAST * both[f"{floor}_plain"]
        share = (both[error] - both[floor]).clip(lower=0) / (both[f"{error}_plain"] - both[f"{floor}_plain"])
        left = left.where(is_told, share.where(has_task))
        is_told |= both[error].notna() & both[f"{error}_plain"].notna()
    is_photograph = both["psnr_plain"] > _ITSELF_DB if "psnr_plain" in both else False
    best = (
        both.assign(left=left, itself=is_photograph)
        .groupby(["scene", "operator"])
        .agg({"left": "min", "itself": "any"})
    )
    models, photographs = (
        best.loc[best["itself"] == itself, "left"].groupby("scene").max().dropna() for itself in (False, True)
    )
    found: Mapping[str, float] = models.combine_first(photographs).to_dict()
    return found


def glance_table(answers: list[Answer], caption: str) -> Table:
    """Return the answers as a short table."""
    columns = (
        Column("left", "left", "lower"),
        Column("before", "warp_error_plain", "neither"),
        Column("after", "warp_error_lifted", "lower"),
        Column("floor", "warp_floor_lifted", "neither"),
        Column("sharp", "sharpness", "neither"),
        *(Column(name, key, "neither") for key, name in (("truth_plain", "truth, 2D"), ("truth_lifted", "lifted"))),
    )
    rows = []
    for one in answers:
        values = (one.plain, one.lifted, one.lifted_floor, one.sharpness, one.plain_truth, one.lifted_truth)
        shown = [_share(one.left), *(_figure(value) for value in values)]
        rows.append(Row((one.operator, one.lifter), tuple(shown)))
    kept = [place for place in range(len(columns)) if any(row.cells[place].value is not None for row in rows)]
    return Table(
        ("operator", "lifter"),
        tuple(columns[place] for place in kept),
        tuple(Row(row.labels, tuple(row.cells[place] for place in kept)) for row in rows),
        caption,
    )


def _answer(figures: Mapping[tuple[str, str, str], float], operator: str, lifter: str) -> Answer:
    def of(name: str, metric: str) -> float:
        return figures.get((operator, name, metric), math.nan)

    both = (RAW2D, lifter)
    reach = next((one for one in REACHES if not any(math.isnan(of(name, f"warp_error_{one}")) for name in both)), "")
    plain, plain_floor, lifted, floor = (
        of(name, f"warp_{kind}_{reach}") for name in both for kind in ("error", "floor")
    )
    # Classes of which the operator knows none tell nothing, nor does a photograph that is its own answer.
    known = {one: of(lifter, one) for one in _TRUTHS if of(lifter, one) != 0 or of(RAW2D, one) != 0}
    is_photograph = of(RAW2D, "psnr") > _ITSELF_DB
    known = {} if is_photograph else known
    truth = next((metric for metric, value in known.items() if not math.isnan(value)), "")
    return Answer(
        operator, lifter, reach, plain, plain_floor, lifted, floor, of(lifter, "sharpness"),
        _TRUTHS.get(truth, ""), of(RAW2D, truth), of(lifter, truth), is_photograph,
    )  # fmt: skip


def _share(value: float) -> Cell:
    return Cell() if math.isnan(value) else Cell(f"{100 * value:.0f} %", value)


def _figure(value: float) -> Cell:
    return Cell() if math.isnan(value) else Cell(f"{value:.3f}", value)
