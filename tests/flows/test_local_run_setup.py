"""What is set before Prefect is imported, and that nothing heavy is imported to set it."""

import subprocess
import sys

from flows.quiet_prefect import quiet_prefect


def test_what_the_user_has_set_stays() -> None:
    settings = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "7", "DO_NOT_TRACK": "0"}
    quiet_prefect(settings)
    assert settings["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] == "7"
    assert settings["DO_NOT_TRACK"] == "0"
    assert settings["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_server_of_the_users_gets_its_logs() -> None:
    settings = {"PREFECT_API_URL": "http://127.0.0.1:4200/api"}
    quiet_prefect(settings)
    assert "PREFECT_LOGGING_TO_API_ENABLED" not in settings
    assert settings["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"


def test_who_asks_for_a_log_level_sees_the_logs() -> None:
    settings = {"PREFECT_LOGGING_LEVEL": "DEBUG"}
    quiet_prefect(settings)
    assert "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL" not in settings


def test_the_door_to_the_flow_imports_nothing_heavy() -> None:
    code = "import sys, flows.local_run; print(sorted({'prefect', 'ray', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
