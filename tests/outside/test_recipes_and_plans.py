"""What commands make of recipes that are none, of scenes that cannot be read, and of plug-ins that nobody names."""

import time

import pytest
from click.testing import CliRunner
from safetensors.torch import save_file

from lift3d.cli import app as cli
from lift3d.cli.commands.options import Exit
from lift3d.config import parse_recipe
from lift3d.errors import ConfigError, Lift3dError
from lift3d.lifters.checkpoint import load_checkpoint
from lift3d.pipeline.targets import read_cameras
from lift3d.runs.scene_lists import expand_scenes
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from lift3d.training.train import HISTORY, read_history
from tests.support import captures

ROOM = "procedural:room?views=3&height=24&width=32"
OPERATORS = "9 operations"
FRAME = "7 one bad frame costs the scene, or is used"
PLUGIN = f"{__file__}:tinted"
SCENE = ("--lifter", "plane_sweep", "--image-height", "24", "--sources", "2", "--dry-run")


def tinted():
    from tests.support.operators import IdentityOperator

    return IdentityOperator()


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


def run(tmp_path, *arguments):
    return invoke("run", *arguments, "--store", tmp_path / "store", *SCENE)


@pytest.mark.outside(kind=OPERATORS, case="--dry-run of a scene that cannot be read", right="ends as the run would")
@pytest.mark.parametrize(
    ("scenes", "code"),
    [(("empty",), Exit.ERROR), (("empty", "file"), Exit.ERROR), (("gone", ROOM), Exit.PARTIAL), ((ROOM,), Exit.DONE)],
)
def test_dry_runs(tmp_path, scenes, code):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    locations = [one if ":" in one else str(tmp_path / one) for one in scenes]
    found = run(tmp_path, *locations, "--operator", "rgb")
    assert found.exit_code == code
    assert found.output.count("cannot be run") == len(scenes) - (ROOM in scenes)


@pytest.mark.outside(kind=OPERATORS, case="--plugin without --operator", right="the plug-in's own operator is run")
@pytest.mark.parametrize("how", ["option", "recipe"])
def test_plugins(tmp_path, how):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"plugins: ['{PLUGIN}']\nscenes: ['{ROOM}']\n")
    given = (ROOM, "--plugin", PLUGIN) if how == "option" else ("--recipe", recipe)
    found = run(tmp_path, *given)
    assert found.exit_code == 0
    assert "features of one view: identity" in found.output
    assert "rgb" not in found.output


@pytest.mark.outside(kind=OPERATORS, case="--plugin without --operator", right="the plug-in's own operator is run")
def test_a_recipe_by_code_must_name_its_operators():
    with pytest.raises(ConfigError, match="name in operators which of them to run"):
        parse_recipe({"scenes": [ROOM], "plugins": [PLUGIN]})


NO_RECIPES = pytest.mark.outside(
    kind=FRAME, case="recipes that are none", right="one short sentence, within a second, no traceback"
)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{one}: &{one} [{', '.join([f'*{before}'] * 10)}]\n" for before, one in zip("abcdef", "bcdefg", strict=True)
)


@NO_RECIPES
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scenes: [5]", "scenes should be a list of locations"),
        ("scenes: [[procedural:room]]", "scenes should be a list of locations"),
        ("scenes: {a: b}", "scenes should be a list of locations"),
        ("scenes: 2026-11-28", "scenes should be a list of locations"),
        ("scenes: " + "[" * 3000, "nests too deep"),
        (BOMB + f"scenes: ['{ROOM}']\noperators: [*g]\n", "aliases written out"),
        ("a: &a [*a]\nscenes: [x]", "nests too deep"),
        (BOMB + "<<: [{x: *g}]", "aliases written out"),
        (f"scenes: ['{ROOM}']\nsources: " + "9" * 5000, "recipe.yaml"),
        (f"scenes: ['{ROOM}']\nholdout: {'x' * 100_000}", "holdout: "),
        (f"scenes: ['{ROOM}']\noperators: {[[1] * 50] * 50}", "operators"),
        (f"scenes: ['{ROOM}']\nplugins: true", "plugins: Input should be a list"),
        (f"scenes: ['{ROOM}']\nplugins: {PLUGIN}", "plugins: Input should be a list"),
        ("\udcff", "recipe.yaml"),
        ("[1, 2]", "expected a YAML mapping"),
    ],
    ids=["number", "list", "mapping", "date", "deep", "bomb", "cycle", "merged bomb", "5,000 digits", "long value",
         "many values", "plugins of nothing", "plugins no list", "no UTF-8", "no mapping"],
)  # fmt: skip
def test_recipes(tmp_path, text, said):
    (tmp_path / "recipe.yaml").write_bytes(text.encode(errors="surrogateescape"))
    start = time.process_time()
    error = run(tmp_path, "--recipe", tmp_path / "recipe.yaml").exception
    assert isinstance(error, Lift3dError)
    assert said in str(error)
    assert len(str(error)) < 5000
    assert time.process_time() - start < 10


def deep_weights(path):
    save_file({}, path, metadata={"format": "lift3d", "version": "1", "about": path.read_text()})
    load_checkpoint(str(path))


@pytest.mark.outside(kind=FRAME, case="JSON that nests too deep", right="an error of ours, whoever reads it")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.jsonl", lambda path: expand_scenes(str(path))),
        ("cameras.json", read_cameras),
        ("transforms.json", lambda path: read_scene(str(path))),
        ("lift3d.json", lambda path: open_store(str(path.parent))),
        (HISTORY, lambda path: read_history(path.parent)),
        ("own.safetensors", deep_weights),
    ],
)
def test_deep_json(tmp_path, name, read):
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(Lift3dError) as raised:
        read(tmp_path / name)
    assert len(str(raised.value)) < 4001


@NO_RECIPES
@pytest.mark.parametrize("scenes", [5, [None], {"a": 1}, [b"x"], [["x"]]])
def test_scenes_that_are_no_locations(scenes):
    with pytest.raises(ConfigError, match="list of locations"):
        expand_scenes(scenes)


@pytest.mark.outside(kind=FRAME, case="huge values in messages", right="messages of at most 4,000 characters")
@pytest.mark.parametrize("value", ["x" * 10**6, [[0.5] * 1000] * 1000, {"a" * 1000: "b" * 10**5}])
def test_messages_are_short(tmp_path, value):
    changes = [{"file_path": value, "transform_matrix": value, "fl_x": value}, {"transform_matrix": value}]
    captures.write_transforms(tmp_path, captures.capture(), *changes, label_names={"1": value})
    found = invoke("ingest", tmp_path, "--json")
    assert found.exit_code == 0
    with pytest.raises(ConfigError) as raised:
        parse_recipe({"scenes": [ROOM], "operators": value})
    assert max(len(str(raised.value)), len(found.output) // 4) < 4001
