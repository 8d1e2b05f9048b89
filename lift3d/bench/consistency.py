"""``docs/results-consistency.md``: do decoded answers agree at long range, stay sharp, and stay near the 2D answer?

All figures are of the pixels that every lifter of the run covers, so that none gains by showing less.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lift3d.bench.pages import bracketed, filled_head, markdown_table, number, replayed_command
from lift3d.config import Execution, Recipe
from lift3d.domain.scores import COMMON_PIXELS
from lift3d.errors import ConfigError, NoOverlapError, SceneError
from lift3d.runs.driver import run_serially
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store
from lift3d.tables.comparison import PairedInterval, paired_bootstrap
from lift3d.tables.schema import ScoreTable

LIFTERS = ("plane_sweep", "render_then_2d", "shared_weights", "separate_weights", "lift3d")
PLAIN, NAIVE = "raw2d", "shared_weights"
# Of a view's own 2D answer; which applies depends on the kind of prediction.
FIDELITY = ("psnr_2d", "label_agreement_2d", "embedding_cosine_2d")
ERROR, FLOOR = "warp_error_long", "warp_floor_long"
# Of the true image, for operators that mean to restore it.
TRUTH = ("psnr", "ssim")
METRICS = (
    *FIDELITY,
    "feature_cosine",
    "sharpness",
    "miou",
    *TRUTH,
    "warp_error_short",
    "warp_floor_short",
    ERROR,
    FLOOR,
)

HEAD = """# Agreement between views

Generated; do not edit. Made by

```
{command}
```

on {date} with lift3d {version}, image height {height}, {sources} sources, `heldout-N`: every N-th view is a target and
no source of any. Pixels that every lifter covers. `excess` is the warp error at long range (baseline angles of 15° to
45°) less the floor of the warp itself, `of raw2d` its share of the excess of the plain 2D answers. Fidelity is to the
plain 2D answer on the true view: cosine of features, and PSNR in dB of pictures or share of equal labels; `true` is the
true image, for operators that mean to restore it. `sharpness` is relative to the 2D answer. Brackets are 95 % intervals
of the paired bootstrap over views.
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of a metric: lifter a less lifter b (or the plain answer), over the same views."""

    metric: str
    a: str
    b: str
    interval: PairedInterval


@dataclass(frozen=True, slots=True)
class OperatorFigures:
    """Figures of one operator in one scene.

    Attributes:
        operator: Its name.
        protocol: Which views and pixels.
        lifters: Means by lifter (and the plain answer) and metric; ``excess``, and ``share_of_raw2d`` of it.
        differences: From the naive weights and from the plain answer.
    """

    operator: str
    protocol: str
    lifters: dict[str, dict[str, float]]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class SceneFigures:
    """Figures of one scene, by operator."""

    scene: str
    rows: tuple[OperatorFigures, ...]


@dataclass(frozen=True, slots=True)
class ConsistencyFigures:
    """What ``lift3d bench consistency`` measured, and of what."""

    recipe: Recipe
    scenes: tuple[SceneFigures, ...]


def measure(recipe: Recipe, store: str) -> ConsistencyFigures:
    """Run the recipe, one scene after the other, and return its figures.

    Raises:
        ConfigError: If there are fewer than two lifters, which share no pixels.
        SceneError: If a scene could not be run.
        NoOverlapError: If a scene gave no figure of the warp at long range for the plain 2D answer.
    """
    if len(recipe.lifters) < 2:
        raise ConfigError(f"Lifters are compared on the pixels that all cover, got {recipe.lifters}. Name two or more.")
    scenes = []
    for location in recipe.scenes:
        one = recipe.model_copy(update={"scenes": (location,), "metrics": METRICS})
        record = run_serially(one, Execution(store=store))[0]
        if not record.is_ok:
            raise SceneError(f"'{location}' could not be run: {record.reason}")
        table = run_table(open_store(store), one.run_id)
        rows = tuple(_row(table, operator, recipe.lifters) for operator in recipe.operators)
        scenes.append(SceneFigures(record.scene, rows))
    return ConsistencyFigures(recipe, tuple(scenes))


def _row(table: ScoreTable, operator: str, lifters: Sequence[str]) -> OperatorFigures:
    """Return the figures of one operator: of every lifter, and differences from the naive and the plain answer."""
    frame = table.frame
    is_common = frame["protocol"].str.endswith(f"/{COMMON_PIXELS}") & (frame["operator"] == operator)
    protocol = str(frame.loc[is_common, "protocol"].iloc[0])
    kept = table.where(protocol=protocol, operator=operator)
    means = kept.frame[kept.frame["outcome"] == "ok"].groupby(["lifter", "metric"])["value"].mean()
    figures: dict[str, dict[str, float]] = {}
    for lifter in (PLAIN, *lifters):
        own = {metric: float(means[lifter, metric]) for metric in METRICS if (lifter, metric) in means.index}
        if ERROR in own and FLOOR in own:
            own["excess"] = own[ERROR] - own[FLOOR]
        figures[lifter] = own
    plain = figures[PLAIN].get("excess")
    if plain is None:
        raise NoOverlapError(
            f"'{operator}': no pair of views at baseline angles of 15° to 45° sees the same; their long-range error is "
            "not defined. Choose a scene with wider baselines, or a smaller --holdout."
        )
    for own in figures.values():
        if plain > 0 and "excess" in own:
            own["share_of_raw2d"] = own["excess"] / plain
    return OperatorFigures(operator, protocol, figures, _differences(kept, operator, lifters))


def _differences(table: ScoreTable, operator: str, lifters: Sequence[str]) -> tuple[Difference, ...]:
    """Return paired intervals: fidelity against the naive weights, mIoU and agreement against the plain answer."""
    measured = set(table.frame.loc[table.frame["outcome"] == "ok", "metric"])
    wanted = [(metric, NAIVE) for metric in ("feature_cosine", *FIDELITY)]
    wanted += [(metric, PLAIN) for metric in ("miou", *TRUTH, ERROR)]
    return tuple(
        Difference(metric, lifter, against, paired_bootstrap(table, metric, lifter, against, operator))
        for metric, against in wanted
        for lifter in lifters
        if metric in measured and lifter != against and against in (PLAIN, *lifters)
    )


def page(figures: ConsistencyFigures) -> str:
    """Return the figures as Markdown."""
    recipe = figures.recipe
    command = replayed_command("consistency", recipe)
    head = filled_head(HEAD, command, height=recipe.image_height, sources=recipe.sources)
    sections = [_section(scene.scene, row) for scene in figures.scenes for row in scene.rows]
    return "\n\n".join([head, *sections]) + "\n"


_COLUMNS = {
    "feature_cosine": "cos 2D ↑",
    "psnr_2d": "PSNR 2D ↑",
    "label_agreement_2d": "labels = 2D ↑",
    "embedding_cosine_2d": "answer cos 2D ↑",
    "miou": "mIoU ↑",
    "psnr": "PSNR true ↑",
    "ssim": "SSIM true ↑",
    "sharpness": "sharpness",
    ERROR: "warp 15–45° ↓",
    FLOOR: "floor",
    "excess": "excess ↓",
    "share_of_raw2d": "of raw2d ↓",
}


def _section(scene: str, row: OperatorFigures) -> str:
    columns = {key: title for key, title in _COLUMNS.items() if any(key in own for own in row.lifters.values())}
    table = markdown_table(
        ["lifter", *columns.values()],
        [[lifter, *(_text(key, own.get(key)) for key in columns)] for lifter, own in row.lifters.items()],
    )
    gains = [f"- {one.metric}: {one.a} − {one.b} = {bracketed(one.interval, 4)}" for one in row.differences]
    title = f"## {scene}, {row.operator} ({row.protocol})"
    return "\n".join([title, "", table, "", *gains])


def _text(key: str, value: float | None) -> str:
    return f"{value:.0%}" if key == "share_of_raw2d" and value is not None else number(value)
