import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("lift3d", "flows") for path in (ROOT / folder).rglob("*.py"))
DRAWERS = {"utils", "misc", "common", "helpers", "base", "core", "types"}
LARGE = 400
LONG = 60
# One home each for the giants (ARCHITECTURE.md).
HOMES = {
    "prefect": ("flows/", "lift3d/present/doctor.py"),
    "ray": ("flows/", "lift3d/present/doctor.py"),
    "zarr": ("lift3d/storage/",),
    "fsspec": ("lift3d/storage/",),
    "s3fs": ("lift3d/storage/",),
    "jinja2": ("lift3d/present/",),
    "obstore": ("lift3d/storage/",),
    "pandas": ("lift3d/tables/",),
    "PIL": ("lift3d/scenes/images.py",),
    "timm": ("lift3d/operators/", "lift3d/present/doctor.py"),
    "open_clip": ("lift3d/operators/",),
    "transformers": ("lift3d/operators/",),
    "matplotlib": ("lift3d/present/",),
}


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_a_file_is_small_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= LARGE
    assert path.stem not in DRAWERS
    assert ast.get_docstring(tree), "a module opens with a paragraph on what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < LONG + 20, f"{node.name} is longer than a screen"
        assert not isinstance(node, ast.Assert), "guards are errors of ours, not asserts"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), "a bare except hides bugs"


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_giants_stay_at_home(path):
    name = ids(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        for module in modules:
            homes = HOMES.get(module.split(".")[0])
            assert homes is None or name.startswith(homes), f"{name} imports {module}; its home is {homes}"
