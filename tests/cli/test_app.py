"""The command line as people and programs use it: what is asked for is what runs, and what is wrong is one sentence."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from flows import local_run
from lift3d.cli import app as cli
from lift3d.cli import run as run_command
from lift3d.cli.commands.groups import TRIED
from lift3d.config import Execution, Recipe
from lift3d.runs.driver import run_serially
from lift3d.training.settings import TrainingSettings
from lift3d.training.tuning.settings import TuningSettings
from tests.support.runs import ROOM

ROOT = Path(__file__).parents[2]
SMALL = ("--operator", "rgb", "--lifter", "plane_sweep", "--image-height", 48, "--sources", 3)


@pytest.fixture
def lift3d(capfdbinary):
    """Run the command line in this process; what it gives is the exit code and what it printed."""

    def called(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(one) for one in arguments])
        said = capfdbinary.readouterr()
        return int(ended.value.code or 0), said.out, said.err.decode()

    return called


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with one run that lacks a scene, and what the run printed, in a process of its own that lacks signs."""
    url = str(tmp_path_factory.mktemp("cli") / "store")
    arguments = ("run", ROOM, "/nowhere/gone", *SMALL, "--target-mode", "heldout", "--store", url)
    command = [sys.executable, "-m", "lift3d", *map(str, arguments)]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    return url, subprocess.run(command, capture_output=True, encoding="utf-8", timeout=240, env=ascii_only)


def test_a_run_in_a_process_of_its_own_prints_its_table_and_says_partial(store):
    assert store[1].returncode == cli.Exit.PARTIAL, store[1].stderr
    assert "plane_sweep" in store[1].stdout
    assert "PSNR ↑" in store[1].stdout
    assert "does not exist" in store[1].stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "No scene given"),
        (("run", "nowhere", "/nowhere/gone"), "There is no 'nowhere' here"),
        (("tracks", "old", "x.csv"), "Nothing is asked. Give --click"),
        (("run", "old"), "'old' is a store, no scene. Give it as --store old"),
        (("run", ROOM, "--operator", "rbg"), "Did you mean 'rgb'"),
        (("run", ROOM, "--lifter", "plane_swep"), "Did you mean 'plane_sweep'"),
        (("run", ROOM, "--metric", "psnrr"), "psnr"),
        (("run", ROOM, "--holdout", "8", "--leave-one-out"), "Give one of them"),
        (("run", ROOM, "--target-mode", "refine", "--leave-one-out"), "Give one of them"),
        (("run", ROOM, "--sources", "0"), "sources"),
        (("run", ROOM, "--image-height", "0"), "image_height"),
        (("run", ROOM, "--recipe", "/nowhere.yaml"), "/nowhere.yaml"),
        (("run", ROOM, "--recipe", "odd.yaml"), "there is no 'operatrs'; fields are scenes, operators"),
        (("run", ROOM, "--execution", "odd.yaml"), "there is no 'operatrs'; fields are store, ray_address"),
        (("run", ROOM, "--execution", "list.yaml"), "holds list; expected a YAML mapping"),
        (("run", ROOM, "--store", "ftp://host/x"), "ftp"),
        (("run", ROOM, "--plugin", "no_such_module:thing"), "no_such_module"),
        (("run", ROOM, "--store", "occupied"), "occupied"),
        (("status", "old"), "has layout 0; this lift3d reads"),
        (("tables", "nowhere"), "or run something with this store first. There are stores at"),
    ],
)
def test_a_wrong_request_is_one_clear_message_and_nothing_is_computed(
    arguments, message, lift3d, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("occupied").write_text("a file where the store's folder should be")
    Path("odd.yaml").write_text("operatrs: [rgb]")
    Path("list.yaml").write_text("[rgb]")
    Path("old").mkdir()
    Path("old/lift3d.json").write_text('{"layout": 0}')
    before = files_of(tmp_path)
    code, out, said = lift3d(*arguments)
    assert code in (cli.Exit.USAGE, cli.Exit.ERROR)
    assert message in said
    assert said.startswith("error")
    assert said.count("\n") == 1
    assert not out
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mesh", "old"), "No such command 'mesh'. Try: lift3d export STORE scene.glb"),
        (("Viewer",), "Try: lift3d view STORE"),
        (("vew",), "Did you mean 'view'?"),
        (("bench", "profil"), "Did you mean 'profile'?"),
        (("run", "--oprator", "rgb"), "'--operator'"),
        (("run", "--model", "rgb"), "Did you mean '--operator'?"),
    ],
)
def test_a_word_that_is_no_command_or_option_is_answered_by_the_one_that_is_meant(arguments, message, lift3d):
    code, _, said = lift3d(*arguments)
    assert code == cli.Exit.USAGE
    assert message in said


def test_what_is_tried_is_no_command_and_what_is_typed_instead_is_one():
    words = " ".join(TRIED.values()).split()
    assert not {*words} & {*cli.app.commands}
    assert len({*words}) == len(words)
    assert {typed.split()[1] for typed in TRIED} - {"--help", "--version"} <= {*cli.app.commands}


def files_of(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("model", [Recipe, Execution, TrainingSettings, TuningSettings])
def test_every_field_is_an_option_that_says_what_it_is_and_its_default(model, lift3d):
    code, out, _ = lift3d({TrainingSettings: "train", TuningSettings: "finetune"}.get(model, "run"), "--help")
    said = re.sub(r"\s+", " ", out.decode())
    assert code == 0
    for name, field in model.model_fields.items():
        if (model, name) in [(Recipe, "scenes"), (TuningSettings, "scenes"), (TuningSettings, "operator")]:
            continue
        is_list = isinstance(field.default, tuple)
        flag = "--" + (name.removesuffix("s") if is_list else name).replace("_", "-")
        told = re.escape(re.sub(r"\s+", " ", field.description))
        default = ", ".join(field.default) if is_list else field.default
        if default not in (None, "", False) and not field.is_required():
            told += rf"(?: Repeatable\.)? \[default: {default}\]"
        # What has no default of its own may be refused, too.
        refused = f" / --no-{flag.removeprefix('--')}"
        assert re.search(rf" {flag}(?: [A-Z]+| \[[a-z|]+\]|{refused})? {told}", said), flag


def test_an_option_that_a_message_names_is_one():
    options = {option for command in _commands(cli.app) for one in command.params for option in _names(one)}
    options |= {"--help", "--address", "--revision", "--local-dir"}  # of ray and hf
    strays = {
        f"{path.relative_to(ROOT)}: {option}"
        for folder in ("lift3d", "flows")
        for path in (ROOT / folder).rglob("*.py")
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", " ".join(_sentences(path)))
        if option not in options
    }
    assert strays == set()


def _commands(command):
    context = click.Context(command)
    command.get_params(context)
    yield command
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        yield from _commands(command.get_command(context, name))


def _names(parameter):
    return (*parameter.opts, *parameter.secondary_opts)


def _sentences(path):
    return [
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]


@pytest.fixture
def asked(monkeypatch, lift3d):
    """Run ``lift3d run`` up to where it starts; what is given are recipe, execution and driver."""

    def called(*options):
        seen = []
        monkeypatch.setattr(run_command, "run_and_present", lambda *given, **_: seen.append(given) or 0)
        assert lift3d("run", ROOM, *options)[0] == 0
        return seen[0]

    return called


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ((), "refine-all"),
        (("--leave-one-out",), "leave-one-out"),
        (("--holdout", "8"), "heldout-8"),
        (("--holdout", "8", "--target-mode", "refine"), "refine-8"),
        (("--target-mode", "heldout"), "leave-one-out"),
    ],
)
def test_what_is_asked_for_is_the_protocol_that_runs(options, protocol, asked):
    assert asked(*options)[0].protocol == protocol


def test_options_win_over_files_and_files_over_defaults(asked, tmp_path):
    (tmp_path / "recipe.yaml").write_text("operators: [hog]\nsources: 3\n")
    (tmp_path / "execution.yaml").write_text("store: elsewhere\nattempts: 2\nbatch_size: 7\n")
    files = ("--recipe", tmp_path / "recipe.yaml", "--execution", tmp_path / "execution.yaml")
    recipe, execution, _ = asked(*files, "--sources", 5, "--attempts", 1)
    assert (recipe.operators, recipe.sources, recipe.lifters) == (("hog",), 5, ("anchored",))
    assert (execution.store, execution.attempts, execution.batch_size) == ("elsewhere", 1, 7)


@pytest.mark.parametrize(
    ("options", "is_distributed"),
    [
        ((), False),
        (("--cluster",), True),
        (("--workers", 2), True),
        (("--ray-address", "auto"), True),
        (("--workers", 2, "--serial"), False),
    ],
)
def test_prefect_and_ray_are_started_only_where_they_are_asked_for(options, is_distributed, asked):
    assert asked(*options)[2] is (local_run.run_flow if is_distributed else run_serially)


def test_ctrl_c_says_that_nothing_committed_is_lost(monkeypatch, lift3d):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_command, "run_and_present", interrupted)
    code, _, said = lift3d("run", ROOM)
    assert code == cli.Exit.INTERRUPTED
    assert "what is committed stays" in said
    monkeypatch.setattr("lift3d.runs.status.run_states", interrupted)
    code, _, said = lift3d("status", "anywhere")
    assert (code, said.startswith("interrupted; no file is left half-written")) == (cli.Exit.INTERRUPTED, True)


def test_tables_come_in_every_format(store, tmp_path, lift3d):
    url, _ = store
    rows = json.loads(lift3d("tables", url, "--format", "json")[1])
    assert {"run", "scene", "target", "other", "operator", "lifter", "metric", "protocol", "value"} <= set(rows[0])
    assert any(row["outcome"] == "failed" and row["value"] is None and row["reason"] for row in rows)
    out = tmp_path / "rows.parquet"
    assert lift3d("tables", url, "--format", "parquet", "--out", out)[0] == 0
    assert out.read_bytes()[:4] == b"PAR1"
    assert lift3d("tables", url, "--format", "csv")[1].count(b"\n") == len(rows) + 1
    assert b"| rgb" in lift3d("tables", url)[1]
    found = lift3d("tables", url, "--compare", "psnr:plane_sweep:raw2d")[1].decode()
    assert "plane_sweep − raw2d = -" in found
    assert "(6 pairs, 0 on one side alone)" in found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "/proc/nowhere/rows.csv"), "Cannot write the table"),
        (("--compare", "psnr:plane_sweep:anchored"), "the lifters plane_sweep, raw2d"),
        (("--compare", "psnr"), "METRIC:LIFTER_A:LIFTER_B"),
    ],
)
def test_a_wrong_request_for_a_table_says_what_there_is(store, options, message, lift3d):
    code, _, said = lift3d("tables", store[0], *options)
    assert code == cli.Exit.USAGE
    assert message in said


def test_threads_that_wait_sleep_unless_the_user_says_otherwise():
    said = "import os, sys, lift3d; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    for given, expected in (({}, "PASSIVE False"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE False")):
        others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        told = subprocess.run([sys.executable, "-c", said], env=others | given, capture_output=True, check=True)
        assert told.stdout.decode().strip() == expected


def test_status_counts_scenes_and_the_doctor_finds_this_environment_fit(store, lift3d):
    state = json.loads(lift3d("status", store[0], "--json")[1])[0]
    assert (state["wanted"], state["committed"], len(state["failed"])) == (2, 1, 1)
    assert "rgb × plane_sweep, leave-one-out" in lift3d("status", store[0])[1].decode()
    code, out, _ = lift3d("doctor")
    assert code == 0, out
    assert b"packages" in out
