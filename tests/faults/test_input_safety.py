"""What is read is data: nothing of it is run, nothing of it says where to connect, and no secret comes out."""

import ast
import json
import logging
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lift3d.cli import app as cli
from lift3d.errors import ConfigError, Lift3dError, SceneFormatError, StoreRefusedError
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from tests.faults.test_model_faults import ODD
from tests.support import captures
from tests.support.runs import run_into, tiny_rooms

ROOT = Path(__file__).parents[2]
CANARY = "canary-7f3a-secret"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")
ROOM = "procedural:room?views=3&height=24&width=32"
FORBIDDEN = ("eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "yaml.load", "os.system", "os.popen")
WATCHED = {"load", "from_pretrained", *(name.split(".")[-1] for name in FORBIDDEN)}
# Its content is what the process itself wrote a moment ago, to another process of its own.
OWN_BYTES = "lift3d/training/prefetch.py"


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Yield every call in the sources: file, the name of what is called, the call."""
    for folder in ("lift3d", "flows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                # Of the many calls, those whose last word is looked for.
                if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in WATCHED:
                    yield str(path.relative_to(ROOT)), ast.unparse(node.func), node


def test_nothing_that_is_read_is_run():
    seen = {"np.load": 0, "torch.load": 0}
    for path, name, call in calls():
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name in seen:
            seen[name] += 1
        if name == "np.load":
            assert options.get("allow_pickle") == "False", f"{path}, line {call.lineno}"
        if name == "torch.load" and path != OWN_BYTES:
            assert options.get("weights_only") == "True", f"{path}, line {call.lineno}"
        assert options.get("trust_remote_code", "False") == "False", f"{path}, line {call.lineno}"
        assert name not in FORBIDDEN, f"{path}, line {call.lineno}: {name}"
    assert all(seen.values()), "the names that are looked for are those that the sources use"


def test_scenes_open_no_connection():
    modules = {"fsspec", "s3fs", "requests", "httpx", "urllib.request", "aiohttp", "socket", "botocore"}
    for path in (ROOT / "lift3d/scenes").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert modules.isdisjoint(names), f"{path}: {names}"


@pytest.mark.fault(28, "locations and names inside scene files with schemes, chains of file systems and hosts")
@pytest.mark.parametrize(
    "name",
    ["s3://b/a.png", "http://169.254.169.254/a.png", "zip://a.png::file:///x.zip", "file:///etc/passwd", "//h/a"],
)
def test_urls_are_no_names_and_no_scenes(tmp_path, name):
    source = captures.capture()
    captures.write_images(tmp_path / "images", source.names)
    content = captures.transforms(source, [name, *(f"images/{one}.png" for one in source.names[1:])])
    # Settings of a store in a scene's file mean nothing.
    options = {"storage_options": {"endpoint_url": "http://127.0.0.1:1"}, "endpoint_url": "http://127.0.0.1:1"}
    captures.write_json(tmp_path / "transforms.json", {**content, **options})
    scene = read_scene(str(tmp_path))
    assert [view.reason for view in scene.dropped] == ["scene-format"]
    with pytest.raises((ConfigError, SceneFormatError)):
        read_scene(name)


def test_archives_are_no_scenes(tmp_path):
    with zipfile.ZipFile(tmp_path / "scene.zip", "w") as archive:
        archive.writestr("../../transforms.json", "{}")
    with pytest.raises(SceneFormatError, match="No reader"):
        read_scene(str(tmp_path / "scene.zip"))


@pytest.fixture
def canary(monkeypatch, caplog):
    for name in SECRETS:
        monkeypatch.setenv(name, CANARY)
    # At DEBUG, the client of S3 itself logs the headers of its requests; nothing here turns that on.
    caplog.set_level(logging.INFO)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process, where logs can be looked at."""
    monkeypatch.setattr(sys, "argv", ["lift3d", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def everything(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join([*map(str, files), *(path.read_bytes().decode("latin-1") for path in files)])


def test_no_secret_comes_out_of_a_run(tmp_path, canary, monkeypatch, caplog, capfd):
    options = ("--lifter", "plane_sweep", "--image-height", "24", "--sources", "2", "--store", str(tmp_path / "store"))
    requests = [
        (str(tmp_path / "gone"), "--operator", "rgb"),
        ("--plugin", f"{ODD}:memory", "--operator", "odd_memory"),
        ("--operator", "rbg"),
        ("--plugin", f"{ODD}:talkative", "--operator", "odd_talkative"),
    ]
    codes = [command(monkeypatch, "run", ROOM, *request, *options) for request in requests]
    assert codes == [cli.Exit.PARTIAL, cli.Exit.ERROR, cli.Exit.USAGE, cli.Exit.ERROR]
    said = capfd.readouterr()
    assert "out-of-memory" in said.err.replace("\n", " ")
    assert "cannot log in with ***" in said.err.replace("\n", " ")
    for text in (said.out, said.err, caplog.text, everything(tmp_path)):
        assert CANARY not in text


@pytest.mark.fault(
    11, "a run into a bucket that is not there, with secrets in the environment that must come out nowhere"
)
def test_no_secret_comes_out_of_a_store_that_refuses(moto_bucket, canary, caplog, capfd):
    with pytest.raises(StoreRefusedError) as raised:
        run_into("s3://no-such-bucket-here/store", tiny_rooms(1))
    assert_no_canary(raised.value, caplog, capfd)


@pytest.mark.parametrize(
    "url",
    [f"s3://key:{CANARY}@bucket/x", f"s3://bucket/x?secret={CANARY}", f"file://{CANARY}::s3://b", f"s3::{CANARY}://b"],
)
def test_an_url_that_holds_a_secret_is_refused_without_saying_it(url, caplog, capfd):
    with pytest.raises(ConfigError) as raised:
        open_store(url)
    assert_no_canary(raised.value, caplog, capfd)


def assert_no_canary(error: Lift3dError, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    assert CANARY not in str(error)
    assert CANARY not in json.dumps(vars(error))
    assert CANARY not in caplog.text
    said = capfd.readouterr()
    assert CANARY not in said.out + said.err
