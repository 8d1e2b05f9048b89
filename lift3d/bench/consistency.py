"""``docs/results-consistency.md``: do answers of different views agree, and are they still answers?

Figures are those of a run as ``lift3d run`` makes it, over all valid pixels: what no source shows counts as it was
filled. Of pictures, which no table can tell from mere agreement, style and seams are measured in ``picture_figures``.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from lift3d.bench.kept_figures import keep, kept
from lift3d.bench.pages import replayed_command
from lift3d.bench.picture_figures import Pictures
from lift3d.bench.ratios import Figure, mean_of, ratio
from lift3d.config import Execution, Recipe
from lift3d.domain.records import RAW2D, SceneRecord
from lift3d.domain.scores import ALL_PIXELS
from lift3d.errors import NoOverlapError, SceneError
from lift3d.runs.driver import run_serially
from lift3d.runs.table import run_table
from lift3d.storage.location import Store, open_store
from lift3d.tables.schema import DataFrame

LIFTERS = ("anchored",)
# Of the true image or of labels; how much is gained over the plain answer has an interval.
TRUTH = ("miou", "psnr", "ssim")
# Of a view's own 2D answer, which is one of those that disagree; which applies depends on the kind of prediction.
WITNESS = ("psnr_2d", "label_agreement_2d", "embedding_cosine_2d", "feature_cosine")
RANGES = ("long", "short")
WARPS = tuple(f"warp_{what}_{reach}" for what in ("error", "floor") for reach in RANGES)
METRICS = ("coverage", "sharpness", *TRUTH, *WITNESS, *WARPS)
FEATURES = "tiny:encoder"
# What its figures lie under in a store.
BENCH = "consistency"


@dataclass(frozen=True, slots=True)
class OperatorFigures:
    """Figures of one operator in one scene.

    Attributes:
        scene: Its name.
        geometry: Where its surface comes from.
        protocol: Which views are targets, and whether they are sources.
        operator: Its name.
        kind: Of its predictions.
        height: Of the images.
        lifters: By lifter (raw2d among them), then by name: those of METRICS; ``left_long`` and ``left_short``, what
            is left of raw2d's excess; ``gram`` and ``seam`` of pictures; and ``…_gain`` over raw2d.
        command: What measured them.
        date: When.
    """

    scene: str
    geometry: str
    protocol: str
    operator: str
    kind: str
    height: int
    lifters: dict[str, dict[str, Figure]]
    command: str
    date: str


def measure(recipe: Recipe, store: str, features: str = FEATURES) -> list[OperatorFigures]:
    """Run the recipe, one scene after the other, keep its figures in the store, and return them.

    Args:
        recipe: What to run.
        store: Where.
        features: Operator whose features tell pictures' styles apart.

    Raises:
        SceneError: If a scene could not be run.
        NoOverlapError: If a scene gave no figure of the warp at long range for the plain 2D answer.
    """
    found = []
    for location in recipe.scenes:
        one = recipe.model_copy(update={"scenes": (location,), "metrics": METRICS})
        record = run_serially(one, Execution(store=store))[0]
        if not record.is_ok:
            raise SceneError(f"'{location}' could not be run: {record.reason}")
        opened = open_store(store)
        for row in _of_scene(one, record, opened, features):
            keep(opened, BENCH, (row.scene, row.geometry, row.protocol, row.operator, row.height), row)
            found.append(row)
    return found


def measured_before(store: str) -> list[OperatorFigures]:
    """Return all figures that a store keeps, by scene, geometry, protocol and kind of answer; ConfigError if none."""
    rows = kept(store, BENCH, OperatorFigures)
    return sorted(rows, key=lambda one: (one.scene, one.geometry, one.protocol, one.kind, one.operator, one.height))


def _of_scene(recipe: Recipe, record: SceneRecord, store: Store, features: str) -> list[OperatorFigures]:
    frame = run_table(store, recipe.run_id).frame
    frame = frame[frame["protocol"].str.endswith(f"/{ALL_PIXELS}")]
    pictures = Pictures(recipe, record, store, features)
    command = replayed_command(
        "consistency",
        recipe,
        () if recipe.lifters == LIFTERS else recipe.lifters,
        geometry=recipe.geometry,
        refine="" if recipe.target_mode == "refine" else None,
        features=None if features == FEATURES else features,
    )
    today = datetime.now(UTC).date().isoformat()
    return [
        OperatorFigures(
            record.scene, pictures.geometry, record.protocol, operator, pictures.kind_of(operator),
            recipe.image_height, _of_operator(frame[frame["operator"] == operator], operator, pictures), command, today,
        )
        for operator in record.operators
    ]  # fmt: skip


def _of_operator(frame: DataFrame, operator: str, pictures: Pictures) -> dict[str, dict[str, Figure]]:
    values = {
        (lifter, metric): rows.set_index(["target", "other"])["value"].sort_index()
        for (lifter, metric), rows in frame[frame["outcome"] == "ok"].groupby(["lifter", "metric"])
    }
    if (RAW2D, "warp_error_long") not in values:
        raise NoOverlapError(
            f"'{operator}': no pair of views at baseline angles of 15° to 45° sees the same; their long-range error is "
            "not defined. Choose a scene with wider baselines, or a smaller --holdout."
        )
    found: dict[str, dict[str, Figure]] = {}
    for lifter in dict.fromkeys((RAW2D, *(lifter for lifter, _ in values))):
        own = {metric: mean_of(values[lifter, metric].to_numpy()) for metric in METRICS if (lifter, metric) in values}
        for reach in RANGES:
            names = (f"warp_error_{reach}", f"warp_floor_{reach}")
            if not all((one, name) in values for one in (lifter, RAW2D) for name in names):
                continue
            excess, plain = (values[one, names[0]] - values[one, names[1]] for one in (lifter, RAW2D))
            both = excess.to_frame("own").join(plain.rename("plain")).dropna()
            own[f"left_{reach}"] = ratio(both["own"].to_numpy(), both["plain"].to_numpy())
        for metric in TRUTH:
            if (lifter, metric) in values:
                gain = (values[lifter, metric] - values[RAW2D, metric]).dropna()
                own[f"{metric}_gain"] = mean_of(gain.to_numpy())
        found[lifter] = own | pictures.figures(operator, lifter)
    return found
