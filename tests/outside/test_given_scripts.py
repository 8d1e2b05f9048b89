"""The scripts by which outsiders showed what they met, as they gave them: each ends with 0 once it is right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Names of modules that moved since the scripts were written; their right values stay.
MOVED = {
    "lift3d.operators.transformers_weights": "lift3d.operators.transformers.weights",
    "from lift3d.operators.transformers_tiny import TINY": (
        "from lift3d.operators.transformers.weights import BUILT_IN; "
        "TINY = {name: json.loads(path.read_text()) for name, path in BUILT_IN.items()}"
    ),
}
SCRIPTS = (
    "01-s3-delete-globs",
    "03-colmap-model-and-images-of-different-folders",
    "05-transforms-keys-of-the-frame",
    "06-transformers-nested-processor",
    "08-openclip-weights-file-normalisation",
    "09-prefect-unreachable-traceback",
    "11-timm-network-that-resizes-inside",
    "12-palette-mask",
    "13-seven-scenes-colour-focal",
    "14-appledouble-counts-as-image",
)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.outside(
    kind="scripts as they were given", case="ten situations of bug reports", right="as each of them says"
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts(tmp_path, test_data, record_property, script):
    for name in (script, "common"):
        text = (test_data / "faults" / f"{name}.py").read_text()
        for old, new in MOVED.items():
            text = text.replace(old, new)
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, str(tmp_path / f"{script}.py")],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    record_property("got", f"{script}: {done.stdout.count('ok   ')} right, {done.stdout.count('FAULT')} wrong")
    assert done.returncode == 0, done.stdout + done.stderr[-500:]
