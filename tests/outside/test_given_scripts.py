"""The scripts by which outsiders showed what they met, as they gave them: each ends with 0 once it is right."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Attack:
    """What a script of attacks says where all is right, and what it must not say; a newer text where layouts moved."""

    said: str
    unsaid: str = "FAULT"
    python: str = ""


# The folder that a given script makes as the image does is made by the image's own command, now that it has one.
DOCKERFILE, MADE_BY_THE_IMAGE = ROOT / "infra/containers/Dockerfile", re.compile("(?m)^RUN (install .*)")
FLIPS = """
import pathlib, random
from lift3d.errors import Lift3dError
from lift3d.runs.records import list_runs
from lift3d.runs.table import run_table
from lift3d.storage.location import open_store
store = open_store("base"); (run,) = list_runs(store); true = run_table(store, run).frame
(path,) = pathlib.Path("base").glob("runs/*/scores/*.parquet"); content = path.read_bytes()
chance = random.Random(0); wrong = 0
for _ in range(300):
    at = chance.randrange(len(content))
    path.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1:])
    try: shown = run_table(store, run).frame
    except Lift3dError: continue
    wrong += not (shown.equals(true) or shown["value"].isna().all())
print(wrong, "of 300 flips are shown as data")
"""
LARGE_SHAPE = """
import pathlib
from tests.support.forged import arrays_of, forge
for product in pathlib.Path("base").glob("scenes/*/lifted/*/plane_sweep/*"):
    forge(product, lambda group: arrays_of(group)["features_0"].update(shape=[3, 3, 100000, 100000]))
"""
ATTACKS = {
    "01-render-runs-code-named-by-store": Attack("--plugin|--captures", "code of the store ran"),
    "02-view-word-runs-code-named-by-store": Attack("403|Traceback", "code of the store ran"),
    "03-viewer-accepts-any-origin": Attack("403"),
    "04-damaged-record-bricks-serial-run": Attack("(?s)(run [12]: rc 0.*){4}report", "rc [^0]"),
    "06-flipped-bit-in-scene-parquet-passes-for-data": Attack("^0 of 300", python=FLIPS),
    "07-links-lead-out-of-a-store": Attack("victim: 1", r"written into another folder: [^ \n]+"),
    "08-small-store-allocates-224-GiB": Attack("damaged", "Killed|MemoryError|out-of-memory", LARGE_SHAPE),
    "09-terminal-escapes-from-a-store": Attack("owned", r"\^\["),
    "10-formulas-in-csv": Attack("'=HYPERLINK", '(?m)(^|,)"?='),
    "11-temporary-prefect-open-and-orphaned": Attack("401", "FAULT|allow-origin|parameters"),
    "12-colmap-inner-counts": Attack(r"(?m)^[1-9]?\d{5} KiB peak"),
    "13-ply-header-lies": Attack("scene-format", "out-of-memory"),
    "14-small-files-large-memory": Attack("measured peak"),
    "16-one-frame-costs-the-scene": Attack("", "defect of an operator|✗"),
    "17-recipe-yaml": Attack("(?s)list of locations.*list of locations.*nests too deep.*rc 2"),
    "18-secrets-in-scene-urls": Attack("^0\n", "(?m)SuperSecret|^s/"),
    "19-ray-of-a-laptop-listens-everywhere": Attack("", r"(?m)^\S+:\d+ "),
    "21-run-fails-where-record-and-scores-are-damaged": Attack("(?s)run 1: rc 0.*run 2: rc 0"),
    "22-rayjob-submitter-is-refused": Attack("^[1-9]"),
    "23-default-deployments-cannot-write-in-the-image": Attack("store: runs/", "denied"),
    "24-memory-is-counted-per-worker-only": Attack("flows/ray_cluster.py.*node_memory"),
    "25-sigterm-is-a-crash": Attack("rc 143", "Traceback|SIGTERM"),
    "27-lift-leaves-a-folder-per-call": Attack("^0 folders"),
    "28-scoring-is-quadratic-and-silent": Attack("200 views: .*\n.*report", "never reports"),
}


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.outside(kind="scripts as they were given", case="24 attacks", right="as each of them says")
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(tmp_path, test_data, name):
    attack, folder = ATTACKS[name], Path(shutil.copytree(test_data / "faults/attacks", tmp_path / "attacks"))
    setup = folder / "lib/env.sh"
    setup.write_text(
        setup.read_text()
        .replace("PATH=$PROJECT/.venv/bin:", f"PATH={Path(sys.executable).parent}:")
        .replace("PYTHONPATH=$FAULTS_LIB", "PYTHONPATH=$FAULTS_LIB:$PROJECT")
    )
    for path in [setup, folder / name / "repro.sh"]:
        text = (
            path.read_text()
            .replace("nearest_view", "plane_sweep")
            .replace("tables --store ", "tables ")
            .replace("lift3d/scene_scores.py", "lift3d/pipeline/score.py")
            .replace("cd opt/lift3d ", f"cd opt/lift3d; {MADE_BY_THE_IMAGE.search(DOCKERFILE.read_text())[1]} ")
        )
        if attack.python and path != setup:
            text = re.sub(r"(?s)python - <<'P'\n.*?\nP\n", lambda _: f"python - <<'P'{attack.python}P\n", text)
        path.write_text(text)
    done = subprocess.run(
        ["bash", str(folder / name / "repro.sh")], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "LIFT3D": str(ROOT)}, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    print(said)  # pytest -rP shows what is judged
    assert re.search(attack.said, said), said
    assert not re.search(attack.unsaid, said), said
