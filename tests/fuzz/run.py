"""``python -m tests.fuzz.run --cases 5000``: try made-up input of every kind, and write what came of it as a page."""

import argparse
import datetime
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import hypothesis
import torch
from hypothesis import HealthCheck, settings

from tests.fuzz import files, stores
from tests.fuzz.tally import MIB, MOST_BYTES, MOST_SECONDS, Kind, Tally, tally

KINDS: dict[str, Kind] = {**files.KINDS, **stores.KINDS}
# Cases of a kind for one of a file: all that reads a store takes a second, a run several.
SHARES = {**dict.fromkeys(stores.KINDS, 0.2), stores.AGAIN: 0.05}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000, help="At least so many in all.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="Else one is drawn.")
    parser.add_argument("--kind", choices=KINDS, action="append", help="Repeatable; all without it.")
    parser.add_argument("--out", type=Path, help="Markdown page to write.")
    given = parser.parse_args()
    settings.register_profile("night", deadline=None, suppress_health_check=list(HealthCheck))
    settings.load_profile("night")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kinds = given.kind or list(KINDS)
    share = given.cases / sum(SHARES.get(kind, 1) for kind in kinds)
    came: dict[str, Tally | BaseException] = {}
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        for kind in kinds:
            # A kind may end early where it has no more cases to offer.
            count = 1 + round(share * SHARES.get(kind, 1) * 1.05)
            came[kind] = tried(kind, folder, count, given.seed)
            sys.stderr.write(f"{kind}: {came[kind]}\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = page(came, given.seed, time.monotonic() - begun)
    sys.stdout.write(text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")
    return int(any(isinstance(one, BaseException) for one in came.values()))


def tried(kind: str, folder: Path, count: int, number: int) -> Tally | BaseException:
    """Try cases of a kind, in a folder of its own unless it is of stores, which share one."""
    own = folder if kind in stores.KINDS else Path(tempfile.mkdtemp(dir=folder))
    try:
        return tally(KINDS[kind], own, count, number)
    except Exception as error:
        traceback.print_exc()
        return error


def page(came: dict[str, Tally | BaseException], number: int, seconds: float) -> str:
    whole = [one for one in came.values() if isinstance(one, Tally)]
    failed = len(came) - len(whole)
    verdict = f"**{failed} kinds FAILED**" if failed else "no case broke any of that"
    lines = [
        "# Fuzzing",
        "",
        "*Input that was made up: files of every format, all that a store holds, recipes and lists, each with "
        "something changed. Only errors of our own may come of a case, with messages of at most 4,000 letters, within "
        f"{MOST_SECONDS} s of CPU and {MOST_BYTES // MIB} MiB beyond what the process held.*",
        f"*Written by `make fuzz` on {datetime.date.today().isoformat()}, {os.cpu_count()} cores, Hypothesis "
        f"{hypothesis.__version__}, seed {number}; not to be edited.*",
        "",
        f"{sum(one.outcomes.total() for one in whole):,} cases, {sum(one.seconds for one in whole):,.0f} s of CPU in "
        f"what was tried, {seconds:,.0f} s with what made the cases: {verdict}.",
        "",
        "| kind | cases | what came of them | seconds | worst seconds | worst MiB |",
        "|---|---|---|---|---|---|",
        *(_row(kind, one) for kind, one in came.items()),
    ]
    return "\n".join(lines) + "\n"


def _row(kind: str, one: Tally | BaseException) -> str:
    if isinstance(one, BaseException):
        return f"| {kind} | – | **FAILED**: {type(one).__name__}: {str(one).splitlines()[0][:200]} | – | – | – |"
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(one.outcomes.items()))
    figures = f"{one.seconds:.1f} | {one.worst_seconds:.2f} | {one.worst_bytes / MIB:.0f}"
    return f"| {kind} | {one.outcomes.total()} | {outcomes} | {figures} |"


if __name__ == "__main__":
    sys.exit(main())
