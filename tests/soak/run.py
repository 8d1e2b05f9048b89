"""``python -m tests.soak.run``: lift many tiny scenes twice, once undisturbed and once with faults, and compare.

Both runs go through Prefect and Ray. The second one meets killed workers, workers that fall silent, stores that do
not answer, and scenes whose images are corrupt. What it comes to must equal the first, bit for bit, without the
scenes that are really broken; each of those is a row with its reason.
"""

import argparse
import datetime
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from flows.local_run import run_flow
from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store
from lift3d.tables.schema import ScoreTable
from tests.soak.faults import KINDS, fault_of, hit_once
from tests.support.captures import capture, write_transforms
from tests.support.disturbed import Disturbed
from tests.support.runs import canonical_bytes

VIEWS = 3
FAULT_SHARE = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="Markdown page to write.")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        page, is_right = soak(folder, given.scenes, given.workers, FAULT_SHARE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(page)
    if given.out is not None:
        given.out.write_text(page, encoding="utf-8")
    return 0 if is_right else 1


def soak(folder: Path, count: int, workers: int, share: float) -> tuple[str, bool]:
    """Run both, with scenes and stores in a folder, a share of the scenes hit; return the page, and if all holds."""
    marks = folder / "soak-marks"
    marks.mkdir()
    _write_scenes(folder / "sound", count, 0.0)
    _write_scenes(folder / "hurt", count, share)
    clean, clean_s, _ = _lifted(folder / "sound", folder / "clean-store", workers, None)
    hit = Disturbed(partial(hit_once, share, marks))
    hurt, hurt_s, records = _lifted(folder / "hurt", folder / "hurt-store", workers, hit)
    broken = {path.name for path in (folder / "hurt").iterdir() if fault_of(path.name, share) == "corrupt"}
    rows_of_broken = hurt.frame[hurt.frame["scene"].isin(broken)]
    expected, got = (
        canonical_bytes(ScoreTable(table.frame[~table.frame["scene"].isin(broken)])) for table in (clean, hurt)
    )
    failed = rows_of_broken[rows_of_broken["outcome"] == "failed"]
    counts = Counter(fault_of(path.name, share) for path in (folder / "hurt").iterdir())
    met = Counter(path.name.rsplit("-", 1)[1] for path in marks.iterdir())
    checks = {
        f"{len(got):,} bytes of the canonical table equal those of the undisturbed run, bit for bit": got == expected,
        f"each of {len(broken)} broken scenes has a row with its reason": set(failed["scene"]) == broken
        and all(failed["reason"]),
        "every fault that was planned was met": all(met[kind] == counts[kind] for kind in KINDS if kind != "corrupt"),
        "no scene is missing": len(records) == count,
        "nothing but what is broken failed": {one.scene for one in records if not one.is_ok} == broken,
    }
    return _page(count, workers, (clean_s, hurt_s), counts, checks, failed), all(checks.values())


def _write_scenes(root: Path, count: int, share: float) -> None:
    for number in range(count):
        scene = root / f"scene-{number:05d}"
        write_transforms(scene, capture(VIEWS))
        if share and fault_of(scene.name, share) == "corrupt":
            for image in scene.rglob("*.png"):
                image.write_bytes(image.read_bytes()[: 40 + number % 40])


def _lifted(scenes: Path, store: Path, workers: int, prepare: Any) -> tuple[ScoreTable, float, list[SceneRecord]]:
    recipe = Recipe(
        scenes=tuple(str(path) for path in sorted(scenes.iterdir())),
        lifters=("plane_sweep",),
        image_height=24,
        sources=2,
        target_mode="heldout",
    )
    execution = Execution(
        store=str(store), workers=workers, cpus_per_worker=0.5, heartbeat_s=20.0, scene_deadline_s=300.0
    )
    began = time.monotonic()
    records = run_flow(recipe, execution, lambda record: None, lambda stage, done, total: None, prepare)
    return run_table(open_store(str(store)), recipe.run_id), time.monotonic() - began, records


def _page(
    count: int, workers: int, seconds: tuple[float, float], counts: Any, checks: dict[str, bool], failed: Any
) -> str:
    faults = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)
    reasons = Counter(reason.split(":")[0] for reason in failed["reason"])
    lines = [
        "# Soak",
        "",
        f"`make soak`, {datetime.date.today().isoformat()}, {os.cpu_count()} cores. {count} scenes of {VIEWS} views, "
        f"{workers} workers, through Prefect and Ray; once undisturbed ({seconds[0]:.0f} s) and once with faults "
        f"({seconds[1]:.0f} s): {faults}. Killed: SIGKILL in the middle of lifting. Request: the store does not "
        "answer. Silence: SIGSTOP. Corrupt: all images truncated, so that the scene is really broken.",
        "",
        "| check | holds |",
        "|---|---|",
        *(f"| {check} | {'yes' if holds else '**NO**'} |" for check, holds in checks.items()),
        "",
        "Reasons of the broken scenes: " + ", ".join(f"{reason} ({times})" for reason, times in reasons.items()) + ".",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
