"""What costs seconds to import is not imported before it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from lift3d.storage.location import open_store
from tests.support import captures

ROOT = Path(__file__).parents[2]
GIANTS = {
    "torch",
    "torchvision",
    "timm",
    "prefect",
    "ray",
    "scipy",
    "cv2",
    "skimage",
    "pycolmap",
    "matplotlib",
    "viser",
}
TABLES = {"pandas", "zarr", "xarray"}
LIGHT = [
    "lift3d.errors",
    "lift3d.config",
    "lift3d.domain.keys",
    "lift3d.domain.scores",
    "lift3d.storage.layout",
    "flows.local_run",
    *(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for pattern in ("catalog.py", "protocol.py", "*_spec.py")
        for path in sorted((ROOT / "lift3d").rglob(pattern))
    ),
]


def imported_by(code, *arguments):
    """Return the top modules that a process has imported when a line of code has run."""
    whole = f"import sys, atexit; atexit.register(lambda: print(' '.join(sys.modules), file=sys.stderr)); {code}"
    ran = subprocess.run([sys.executable, "-c", whole, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return {name.partition(".")[0] for name in ran.stderr.split()}


def test_listing_what_there_is_imports_no_giant():
    assert not imported_by(f"import {', '.join(LIGHT)}") & {"torch", "prefect", "ray", "timm"}


def test_a_plan_reads_cameras_and_asks_for_nothing_that_is_needed_for_pixels_arrays_and_tables(tmp_path):
    captures.write_transforms(tmp_path / "scene", captures.capture())
    arguments = [
        "run",
        tmp_path / "scene",
        "--operator",
        "rgb",
        "--dry-run",
        "--no-check",
        "--store",
        tmp_path / "store",
    ]
    assert not imported_by("from lift3d.cli.app import main; main()", *arguments) & (GIANTS - {"torch"} | TABLES)


def test_tables_do_not_import_torch():
    shown = "lift3d.cli.tables, lift3d.results.scores.leaderboard, lift3d.results.scores.run_comparison"
    assert "torch" not in imported_by(f"import lift3d.tables.schema, lift3d.tables.aggregation, {shown}")


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("--help", GIANTS | TABLES | {"pydantic", "rich", "numpy", "fsspec", "yaml"}),
        ("status", GIANTS | TABLES),
        ("fsck", GIANTS | TABLES),
    ],
)
def test_a_command_imports_what_it_needs_and_no_more(command, heavy, tmp_path):
    store = [] if command == "--help" else [open_store(str(tmp_path / "store"), create=True).url]
    assert not imported_by("from lift3d.cli.app import main; main()", command, *store) & heavy
