import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("lift3d", "flows") for path in (ROOT / folder).rglob("*.py"))
DRAWERS = {"utils", "misc", "common", "helpers", "base", "core", "types"}
LARGE = 400
LONG = 60
# One home each for the giants (ARCHITECTURE.md).
HOMES = {
    "prefect": ("flows/", "lift3d/cli/doctor_services.py"),
    "ray": ("flows/",),
    "zarr": ("lift3d/storage/", "lift3d/bench/plain_zarr.py"),
    "fsspec": ("lift3d/storage/",),
    "s3fs": ("lift3d/storage/",),
    "jinja2": ("lift3d/report/",),
    "pandas": ("lift3d/tables/",),
    "PIL": ("lift3d/scenes/images.py", "lift3d/operators/view_files.py"),
    "timm": ("lift3d/operators/", "lift3d/cli/doctor.py"),
    "open_clip": ("lift3d/operators/",),
    "transformers": ("lift3d/operators/",),
    "matplotlib": ("lift3d/results/", "lift3d/viewer/"),
}
FORBIDDEN = ("eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "yaml.load", "os.system", "os.popen")
WATCHED = {"load", "from_pretrained", *(name.split(".")[-1] for name in FORBIDDEN)}
# Its content is what the process itself wrote a moment ago, to another process of its own.
OWN_BYTES = "lift3d/training/prefetch.py"


def test_files_are_small_and_say_what_they_are():
    assert [fault for path in SOURCES for fault in _faults_of(path)] == []


def test_giants_stay_at_home():
    strays = [
        f"{_name(path)} imports {module}; its home is {HOMES[module]}"
        for path in SOURCES
        for module in _imported(path)
        if module in HOMES and not _name(path).startswith(HOMES[module])
    ]
    assert strays == []


def test_scenes_open_no_connection():
    modules = {"fsspec", "s3fs", "requests", "httpx", "aiohttp", "socket", "botocore"}
    scenes = [path for path in SOURCES if _name(path).startswith("lift3d/scenes/")]
    assert [path for path in scenes if modules & {*_imported(path)} or "urllib.request" in path.read_text()] == []


def test_nothing_that_is_read_is_run():
    wanted = {"np.load": ("allow_pickle", "False"), "torch.load": ("weights_only", "True")}
    seen = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # Of the many calls, those whose last word is looked for.
            if (
                not isinstance(node, ast.Call)
                or getattr(node.func, "attr", getattr(node.func, "id", "")) not in WATCHED
            ):
                continue
            called, place = ast.unparse(node.func), f"{_name(path)}:{node.lineno}"
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            seen.add(called)
            if called in wanted and _name(path) != OWN_BYTES:
                assert options.get(wanted[called][0]) == wanted[called][1], place
            assert options.get("trust_remote_code", "False") == "False", place
            assert called not in FORBIDDEN, place
    assert seen >= set(wanted), "the names that are looked for are those that the sources use"


def _faults_of(path: Path) -> Iterator[str]:
    text, name = path.read_text(encoding="utf-8"), _name(path)
    tree = ast.parse(text)
    if text.count("\n") > LARGE:
        yield f"{name} is longer than {LARGE} lines"
    if path.stem in DRAWERS:
        yield f"{name} is a drawer"
    if not ast.get_docstring(tree):
        yield f"{name} does not open with a paragraph on what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= LONG + 20:
            yield f"{name}: {node.name} is longer than a screen"
        if isinstance(node, ast.Assert):
            yield f"{name}:{node.lineno}: guards are errors of ours, not asserts"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{name}:{node.lineno}: a bare except hides bugs"


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))
