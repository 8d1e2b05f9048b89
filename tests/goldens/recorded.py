"""What runs gave when recorded: ``python -m tests.goldens.recorded`` compares, ``--record NAME`` records anew.

A golden holds the rounded figures of a run's table, which every machine must give, and digests of the table and of all
lifted arrays bit for bit, which hold where the same libraries compute on the same kind of processor.
"""

import hashlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import lift3d

FOLDER = Path(__file__).parent
DATA = os.environ.get("LIFT3D_TEST_DATA", "")
KEYS = ["scene", "target", "other", "operator", "lifter", "metric", "protocol", "threshold_source", "scoring_geometry"]
FIGURES = ["value", "weight", "coverage"]
SIGNIFICANT_DIGITS = 3
_SMALL = {
    "image_height": 96,
    "sources": 6,
    "holdout": 8,
    "target_mode": "heldout",
    "lifters": ["plane_sweep", "lift3d"],
}
RECIPES: Mapping[str, dict[str, Any]] = {
    "demo": {
        **yaml.safe_load((FOLDER.parents[1] / "flows/recipes/demo.yaml").read_text(encoding="utf-8")),
        "scenes": [f"procedural:{kind}?seed=0&views=8&height=64&width=80" for kind in ("room", "street")],
        "image_height": 64,
    },
    "fox": {**_SMALL, "operators": ["rgb", "tiny:depth"], "scenes": [f"{DATA}/captures/fox"]},
    "kitchen": {
        **_SMALL,
        "operators": ["rgb", "mosaic"],
        "lifters": ["anchored"],
        "plugins": [f"{FOLDER.parent}/real/plugins/npz_segmentation.py:mosaic"],
        "scenes": [f"{DATA}/captures/kitchen"],
    },
}


def processor() -> str:
    """Say where bits may be compared: floating-point sums are as the libraries and the processor order them.

    Machines of a cloud call all of a maker's processors by one name, and some hide a part of the instructions.
    """
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    fields = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    model = " ".join(fields.get(name, "unknown") for name in ("model name", "cpu family", "model"))
    libraries = f"torch {torch.__version__.partition('+')[0]} · numpy {np.__version__}"
    return f"{model} · {torch.backends.cpu.get_cpu_capability()} · {libraries}"


def measured(name: str) -> dict[str, Any]:
    """Run a recipe in a store of its own and return what came out of it."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = lift3d.Recipe.model_validate(RECIPES[name])
        lift3d.run_serially(recipe, lift3d.Execution(store=folder))
        frame = lift3d.run_table(lift3d.open_store(folder), recipe.run_id).frame.sort_values(KEYS, kind="stable")
        rows = hashlib.sha256()
        for column in KEYS:
            rows.update("\n".join(map(str, frame[column])).encode())
        for column in FIGURES:
            rows.update(frame[column].to_numpy(np.float64).tobytes())
        means = frame.groupby(["operator", "lifter", "metric", "protocol"])["value"].mean()
        return {
            "processor": processor(),
            "figures": {" ".join(key): _rounded(value) for key, value in means.items()},
            "row_count": len(frame),
            "table": rows.hexdigest(),
            "arrays": {
                f"{one.name} {one.operator} {one.lifter}": _digest_of(one) for one in lift3d.lifted_scenes(folder)
            },
        }


def differences(name: str) -> list[str]:
    """Run a recipe again and say what is not as it was recorded."""
    wanted, found = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")), measured(name)
    keys = ["figures", "row_count"]
    if wanted["processor"] == found["processor"]:
        keys += ["table", "arrays"]
    return [line for key in keys for line in _differing(key, wanted[key], found[key])]


def _differing(key: str, wanted: Any, found: Any) -> list[str]:
    if not isinstance(wanted, dict):
        return [] if wanted == found else [f"{key}: {found}, recorded {wanted}"]
    return [
        f"{key} {name}: {found.get(name)}, recorded {wanted.get(name)}"
        for name in sorted(wanted.keys() | found.keys())
        if not _alike(wanted.get(name), found.get(name))
    ]


def _alike(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, float):
        return math.isclose(wanted, found, rel_tol=10.0**-SIGNIFICANT_DIGITS, abs_tol=1e-6)
    return bool(wanted == found)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.{SIGNIFICANT_DIGITS + 2}g}")


def _digest_of(lifted: lift3d.LiftedScene) -> str:
    """Digest of every lifted view: features, coverage, depth and prediction."""
    content = hashlib.sha256()
    for view in lifted.views():
        content.update(view.target.encode())
        for one in view.lifted:
            for array in (one.features.values, one.coverage, one.z_depth):
                content.update(array.contiguous().numpy().tobytes())
        content.update(view.prediction.values.contiguous().numpy().tobytes())
        content.update(view.prediction.is_valid.contiguous().numpy().tobytes())
    return content.hexdigest()


def main(arguments: list[str]) -> int:
    """Compare or record."""
    is_recorded = arguments[:1] == ["--record"]
    failed = 0
    for name in arguments[is_recorded:] or list(RECIPES):
        if is_recorded:
            (FOLDER / f"{name}.json").write_text(json.dumps(measured(name), indent=1, sort_keys=True) + "\n", "utf-8")
            continue
        lines = differences(name)
        failed += bool(lines)
        print(name, "as recorded" if not lines else "\n  ".join(["differs:", *lines]))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
