"""What is set before Prefect is imported, and which addresses and paths are refused."""

import socket
import subprocess
import sys

import httpx
import pytest

from flows.local_run import _server_answers, quiet_prefect
from flows.ray_cluster import connect, require_paths_that_travel
from lift3d.config import Execution, Recipe
from lift3d.errors import ConfigError, WorkerError


@pytest.mark.parametrize(
    ("given", "unset"),
    [
        ({"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "7", "DO_NOT_TRACK": "0"}, ""),
        # A server of the user's gets its logs, and who asks for a level sees them.
        ({"PREFECT_API_URL": "http://127.0.0.1:4200/api"}, "PREFECT_LOGGING_TO_API_ENABLED"),
        ({"PREFECT_LOGGING_LEVEL": "DEBUG"}, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"),
    ],
)
def test_what_the_user_has_set_stays(given, unset):
    settings = dict(given)
    quiet_prefect(settings)
    assert settings.items() >= given.items()
    assert settings["RAY_USAGE_STATS_ENABLED"] == "0"
    assert unset not in settings


def test_a_server_that_dies_of_the_same_ctrl_c_is_an_interrupted_run():
    refused = httpx.ConnectError("refused")
    refused.__context__ = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), _server_answers():
        raise refused
    with pytest.raises(WorkerError, match="does not answer: refused"), _server_answers():
        raise httpx.ConnectError("refused")


def test_nothing_at_the_address_of_a_cluster_is_said_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code = f"""
from flows.ray_cluster import connect
from lift3d.config import Execution
with connect(Execution(store='x', ray_address='{address}')): pass
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert f"Cannot connect to Ray at '{address}'" in done.stderr


def test_the_address_of_the_jobs_api_is_refused_with_the_command_that_submits_a_job():
    execution = Execution(store="x", ray_address="http://127.0.0.1:8265")
    with pytest.raises(ConfigError, match=r"ray job submit --address http://127\.0\.0\.1:8265 -- lift3d run"):
        connect(execution).__enter__()


@pytest.mark.parametrize(
    ("fields", "store", "message"),
    [
        ({}, "runs/x", "The store 'runs/x' is a relative path"),
        ({"scenes": ("desk",)}, "/x", "The scene 'desk' is"),
        ({"plugins": ("own.py:Own",), "operators": ("rgb",)}, "s3://x", "The plugin 'own.py' is"),
        ({"targets": "cameras.json"}, "s3://x", "The targets 'cameras.json' is"),
    ],
)
def test_a_path_that_means_another_place_on_the_cluster_is_refused(fields, store, message):
    recipe = Recipe.model_validate({"scenes": ("procedural:room", "/captures/desk"), "targets": "path:9", **fields})
    require_paths_that_travel(recipe, Execution(store=store))
    with pytest.raises(ConfigError, match=message):
        require_paths_that_travel(recipe, Execution(store=store, ray_address="auto"))
