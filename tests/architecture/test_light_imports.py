import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIGHT = [
    "lift3d",
    "lift3d.errors",
    "lift3d.cli.app",
    "lift3d.config",
    "lift3d.domain.keys",
    "lift3d.domain.scores",
    "lift3d.storage.layout",
    *(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for pattern in ("catalog.py", "protocol.py", "*_spec.py")
        for path in sorted((ROOT / "lift3d").rglob(pattern))
    ),
]


@pytest.mark.parametrize("module", LIGHT)
def test_listing_what_there_is_does_not_import_torch(module):
    code = f"import sys, {module}; sys.exit(any(heavy in sys.modules for heavy in ('torch', 'prefect', 'ray', 'timm')))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_tables_do_not_import_torch():
    code = "import sys, lift3d.tables.schema, lift3d.tables.aggregation; sys.exit('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
