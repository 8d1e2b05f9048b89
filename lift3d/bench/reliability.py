"""``docs/results-reliability.md``: what passers-by cost held-out photographs, and what judging views gives back.

Into a share of the source views something is pasted that is no part of the scene; held-out views are as they were, and
so judge what all sources together show. A scene beside them is computed, where things really stand before the camera.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from lift3d.bench.kept_figures import keep, kept
from lift3d.bench.pages import PairedInterval, paired, replayed_command
from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import SceneError
from lift3d.runs.driver import run_serially
from lift3d.runs.table import run_table
from lift3d.scenes.distractors import SCHEME as PASTED
from lift3d.storage.location import open_store
from lift3d.synthetic.reader import SCHEME as COMPUTED

JUDGES = ("tiny:encoder",)
SHARES = (0.0, 0.1, 0.2, 0.3)
PSNR, ERROR = "psnr", "warp_error_long"
BELIEVED, JUDGED, KNOWN = "all believed", "judged", "known"
# What its figures lie under in a store.
BENCH = "reliability"


@dataclass(frozen=True, slots=True)
class ReliabilityFigures:
    """Figures of one scene, one share of views with distractors, and one set of judges.

    Attributes:
        scene: Its name without distractors.
        share: Of the source views that show something that is no part of it.
        judges: 2D models.
        height: Of the images.
        targets: How many held-out views judge.
        psnr: Mean PSNR of held-out views, dB, by way; KNOWN where distractors can be masked, the ceiling.
        error: Mean disagreement of held-out views at long range, by way.
        gain: PSNR of JUDGED less that of BELIEVED, at the same views.
        location: Of the scene with distractors.
        surface_path: Of what was judged, in the store.
        command: What measured it.
        date: When.
    """

    scene: str
    share: float
    judges: tuple[str, ...]
    height: int
    targets: int
    psnr: dict[str, float]
    error: dict[str, float]
    gain: PairedInterval
    location: str
    surface_path: str
    command: str
    date: str


def measure(recipe: Recipe, judges: Sequence[str], store: str) -> list[ReliabilityFigures]:
    """Run every scene with every share of distractors, believed and judged, and keep the figures in the store.

    SceneError if a scene could not be run.
    """
    command = replayed_command("reliability", recipe) + "".join(f" --judge {shlex.quote(judge)}" for judge in judges)
    rows = []
    for location in recipe.scenes:
        for share in SHARES:
            row = _of_share(location, share, recipe, tuple(judges), store, command)
            keep(open_store(store), BENCH, (row.scene, repr(share), *row.judges, row.height), row)
            rows.append(row)
    return rows


def measured_before(store: str) -> list[ReliabilityFigures]:
    """Return all figures that a store keeps, by scene, judges and share; ConfigError if there are none."""
    rows = kept(store, BENCH, ReliabilityFigures)
    return sorted(rows, key=lambda one: (one.scene, one.height, one.judges, one.share))


def distracted(location: str, share: float, *, is_known: bool = False) -> str | None:
    """Return the location of a scene with distractors; None where they cannot be given away."""
    if location.startswith(COMPUTED):
        return None if is_known else f"{location}{'&' if '?' in location else '?'}movers={share:g}"
    return f"{PASTED}share={share:g}&known={int(is_known)}:{location}"


def _of_share(
    location: str, share: float, recipe: Recipe, judges: tuple[str, ...], store: str, command: str
) -> ReliabilityFigures:
    ways = {
        BELIEVED: (distracted(location, share), ()),
        JUDGED: (distracted(location, share), judges),
        KNOWN: (distracted(location, share, is_known=True), ()),
    }
    psnr: dict[str, Float64[ndarray, " view"]] = {}
    error: dict[str, float] = {}
    records: dict[str, SceneRecord] = {}
    for way, (place, by) in ways.items():
        if place is not None:
            one = recipe.model_copy(update={"scenes": (place,), "reliability": by, "metrics": (PSNR, ERROR)})
            records[way], psnr[way], error[way] = _run(one, store)
    return ReliabilityFigures(
        scene=_plain_name(location),
        share=share,
        judges=judges,
        height=recipe.image_height,
        targets=len(psnr[BELIEVED]),
        psnr={way: float(values.mean()) for way, values in psnr.items()},
        error=error,
        gain=paired(psnr[JUDGED] - psnr[BELIEVED]),
        location=records[JUDGED].location,
        surface_path=records[JUDGED].surface_path,
        command=command,
        date=datetime.now(UTC).date().isoformat(),
    )


def _run(recipe: Recipe, store: str) -> tuple[SceneRecord, Float64[ndarray, " view"], float]:
    record = run_serially(recipe, Execution(store=store))[0]
    if not record.is_ok:
        raise SceneError(f"'{recipe.scenes[0]}' could not be run: {record.reason}")
    frame = run_table(open_store(store), recipe.run_id).frame
    frame = frame[(frame["lifter"] == recipe.lifters[0]) & (frame["outcome"] == "ok")]
    psnr, error = (
        rows.groupby("target")["value"].mean().sort_index().to_numpy()
        for rows in (frame[frame["metric"] == metric] for metric in (PSNR, ERROR))
    )
    return record, psnr, float(np.mean(error)) if len(error) else float("nan")


def _plain_name(location: str) -> str:
    return location.rstrip("/").rsplit("/", 1)[-1].removeprefix(COMPUTED)
