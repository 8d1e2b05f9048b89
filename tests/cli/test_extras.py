"""What a small installation does: everything on a laptop, and one sentence for what it lacks."""

import ast
import json
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROOM = "procedural:room?views=3&height=24&width=32"
# Modules that the extras bring, with those that come along.
BROUGHT = {
    "cluster": ("prefect", "fastapi", "ray", "s3fs", "botocore", "aiobotocore", "aiohttp", "httpx"),
    "phone": ("pillow_heif", "imagecodecs"),
    "splats": ("gsplat",),
    "train": ("ray",),
    "transformers": ("transformers",),
    "view": ("viser", "websockets", "av"),
}
# Runs commands one after the other in one process that lacks some modules; prints of each the exit code and stderr.
WITHOUT = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
from click.testing import CliRunner
from lift3d.cli.app import main
ran = []
for arguments in json.loads(sys.argv[2]):
    with CliRunner().isolation() as (out, err, _):
        try:
            main(arguments)
            code = 0
        except SystemExit as end:
            code = end.code or 0
        ran.append([code, out.getvalue().decode(), err.getvalue().decode()])
print(json.dumps(ran))
"""


def lift3d(hidden, *commands):
    given = [json.dumps([[str(word) for word in words] for words in commands])]
    command = [sys.executable, "-c", WITHOUT, json.dumps(hidden), *given]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout)


def test_what_is_missing_is_one_sentence_with_the_remedy(tmp_path):
    store = tmp_path / "store.mp4"
    commands = [
        ("cluster", "run", ROOM, "--operator", "rgb", "--cluster", "--store", store),
        ("cluster", "status", "s3://bucket/results"),
        ("train", "train", "--out", "x.safetensors", "--processes", "2", "--folder", store),
        ("train", "finetune", "timm:test_vit", "--out", "x.safetensors", "--processes", "2", "--folder", store),
        ("transformers", "run", ROOM, "--operator", "transformers:OWNER/NAME", "--store", store),
        ("view", "view", store),
        ("view", "render", "runs/nowhere", store),
    ]
    ran = lift3d(sorted({*chain(*BROUGHT.values())}), *(words for _, *words in commands))
    for (extra, *words), (code, _, said) in zip(commands, ran, strict=True):
        assert (code, "Traceback" in said, said.count("\n")) == (2, False, 1), (words, said)
        assert f"which is not installed. Install it with: pip install 'lift3d[{extra}]'." in said


def test_without_any_extra_a_laptop_runs_reports_and_tabulates(tmp_path):
    # torchmetrics imports transformers wherever it is installed, hidden or not.
    hidden = sorted({*chain(*BROUGHT.values())} - {"transformers"})
    options = ("--operator", "rgb", "--lifter", "plane_sweep", "--image-height", 24, "--sources", 2)
    run, tables = lift3d(
        hidden,
        ("run", ROOM, *options, "--store", tmp_path / "store"),
        ("tables", tmp_path / "store", "--format", "csv"),
    )
    assert run[0] == 0, run
    assert (tmp_path / "store/report.html").is_file()
    assert "psnr" in tables[1]


def test_every_package_that_is_imported_is_declared():
    declared = {_module(one) for one in PROJECT["dependencies"]} | {"pydantic_core"}  # a part of pydantic
    optional = {module for modules in BROUGHT.values() for module in modules}
    foreign = {
        module
        for folder in ("lift3d", "flows")
        for path in (ROOT / folder).rglob("*.py")
        for module in _imported(path)
        if module not in sys.stdlib_module_names and module not in ("lift3d", "flows")
    }
    assert foreign <= declared | optional


def test_all_is_every_extra():
    extras = PROJECT["optional-dependencies"]
    assert extras["all"] == [f"lift3d[{','.join(sorted(set(extras) - {'all', 'dev'}))}]"]
    assert extras["dev"][0] == "lift3d[all]"
    assert set(BROUGHT) == set(extras) - {"all", "dev"}


def _module(requirement):
    name = requirement.partition(">")[0].partition("[")[0]
    modules = {"scikit-image": "skimage", "opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
    modules |= {"open_clip_torch": "open_clip", "scikit-learn": "sklearn"}
    return modules.get(name, name.replace("-", "_"))


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]
