"""Credentials, in URLs and in the environment: no message, log or file shows them."""

import json
import logging
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows import temporary_server
from flows.temporary_server import require_server
from lift3d.cli import app as cli
from lift3d.cli import doctor, doctor_services
from lift3d.config import parse_execution, parse_recipe
from lift3d.errors import ConfigError, Lift3dError, StoreRefusedError, has_secrets
from lift3d.scenes.catalog import read_scene
from lift3d.storage.location import open_store
from tests.faults.test_model_faults import ODD
from tests.support.forged import command
from tests.support.runs import run_into, tiny_rooms

outside = partial(pytest.mark.outside, kind="8 secrets and words")
SECRET = "SuperSecretKey12345"
NOBODY = "127.0.0.1:9"
OWN = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")


@outside(case="credentials in a location", right="refused in words without them, nothing written")
@pytest.mark.parametrize(
    "words",
    [
        ("s3://AKIA:SECRET@bucket/scene",),
        ("s3://AKIA:with/slash/SECRET@bucket/scene",),
        ("https://SECRET@host/scene",),
        ("https://host/scene?X-Amz-Signature=SECRET",),
        ("procedural:room", "--targets", "https://host/cameras?token=SECRET"),
        ("procedural:room", "--plugin", "https://u:SECRET@host/own.py:own"),
        ("procedural:room", "--ray-address", "ray://u:SECRET@head:10001"),
        ("procedural:room", "--store", "s3://u:SECRET@bucket/store"),
    ],
    ids=["s3", "slash", "user", "signed", "targets", "plugin", "ray", "store"],
)
def test_credentials_are_refused_before_anything_is_written(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [word.replace("SECRET", SECRET) for word in words]
    ran = CliRunner().invoke(cli.app, ["run", *given, "--operator", "rgb"])
    assert isinstance(ran.exception, ConfigError)
    assert "credentials" in str(ran.exception)
    assert SECRET[:6] not in f"{ran.output}{ran.exception}"
    assert list(tmp_path.iterdir()) == []


@outside(case="credentials in a message", right="blotted out of every error of ours")
@pytest.mark.parametrize("text", ["Client error for url 'http://u:SECRET@h/api'", "see https://h/x?a=1&sig=SECRET&b=2"])
def test_errors_blot_credentials_out(text):
    said = str(Lift3dError(text.replace("SECRET", SECRET)))
    assert SECRET not in said
    assert "***" in said


@outside(case="credentials in a message", right="blotted out of every error of ours")
@pytest.mark.parametrize("url", ["s3://u:SECRET@b/x", "s3://b/x?sig=SECRET", "file://SECRET::s3://b", "s3::SECRET://b"])
def test_an_url_that_holds_a_secret_is_refused_without_saying_it(url, caplog, capfd):
    for opened in (open_store,) if "::" in url else (open_store, read_scene):
        with pytest.raises(ConfigError) as raised:
            opened(url.replace("SECRET", SECRET))
        assert_untold(raised.value, caplog, capfd)


def test_what_only_looks_like_credentials_is_taken():
    for location in ("s3://bucket/a@b/scenes", "/data/me@home:1", "procedural:room?seed=0&views=6", "mail@host"):
        assert not has_secrets(location)
    assert parse_recipe({"scenes": ["/data/me@home:1"]}).scenes == ("/data/me@home:1",)
    assert parse_execution({"store": "s3://bucket/a@b", "ray_address": "head:6379"}).store == "s3://bucket/a@b"


@pytest.fixture
def api(monkeypatch):
    """Configure a Prefect server as Prefect and the doctor find it."""
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)

    def configured(url):
        monkeypatch.setenv("PREFECT_API_URL", url)
        setting = type("Setting", (), {"value": staticmethod(lambda: url)})
        monkeypatch.setattr(temporary_server, "PREFECT_API_URL", setting)
        monkeypatch.setattr(temporary_server.time, "sleep", lambda seconds: None)

    return configured


@outside(case="a Prefect server that is not there", right="one sentence before the run; the doctor says BAD")
@pytest.mark.parametrize("url", [f"http://{NOBODY}/api", f"{NOBODY}/api", f"http://u:{SECRET}@{NOBODY}/api"])
def test_a_prefect_server_that_is_not_there_is_said_in_a_sentence(url, api):
    api(url)
    with pytest.raises(ConfigError, match=r"does not answer|credentials") as caught:
        require_server()
    found = doctor._prefect()
    assert any(not one.is_fine for one in found)
    said = "\n".join([str(caught.value), *(one.to_text() for one in found)])
    assert NOBODY in said
    assert SECRET not in said


@outside(case="a Prefect server named by a profile", right="the doctor names it and says that it is not there")
@pytest.mark.parametrize("url", [f"http://{NOBODY}/api"])
def test_the_doctor_looks_at_the_server_of_the_profile(url, api, monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        first, second = doctor._prefect()
    assert url in first.detail
    assert not second.is_fine


@outside(case="credentials in the URL of a dashboard", right="BAD, in words without them")
def test_the_doctor_shows_no_credentials_of_a_dashboard(api):
    (found,) = doctor_services.ray_dashboard(f"http://u:{SECRET}@{NOBODY}")
    assert not found.is_fine
    assert SECRET not in found.to_text()


def assert_untold(error, caplog, capfd):
    assert SECRET not in f"{error}{json.dumps(vars(error))}{caplog.text}{''.join(capfd.readouterr())}"


@pytest.fixture
def own_secrets(monkeypatch, caplog):
    for name in OWN:
        monkeypatch.setenv(name, SECRET)
    # At DEBUG, the client of S3 itself logs the headers of its requests; nothing here turns that on.
    caplog.set_level(logging.INFO)


def test_no_secret_comes_out_of_a_run(tmp_path, own_secrets, caplog, capfd):
    options = ["--lifter", "plane_sweep", "--image-height", 24, "--sources", 2, "--store", tmp_path / "store"]
    room = "procedural:room?views=3&height=24&width=32"
    requests = {
        cli.Exit.PARTIAL: [str(tmp_path / "gone"), "--operator", "rgb"],
        cli.Exit.USAGE: ["--operator", "rbg"],
        cli.Exit.ERROR: ["--plugin", f"{ODD}:talkative", "--operator", "odd_talkative"],
    }
    ran = [command("run", room, *request, *options) for request in requests.values()]
    assert [code for code, _ in ran] == [*requests]
    assert "cannot log in with ***" in ran[-1][1].replace("\n", " ")
    files = [path for path in Path(tmp_path).rglob("*") if path.is_file()]
    written = "".join([*map(str, files), *(path.read_bytes().decode("latin-1") for path in files)])
    assert SECRET not in f"{ran}{written}{caplog.text}{''.join(capfd.readouterr())}"


@pytest.mark.fault(
    11, "a run into a bucket that is not there, with secrets in the environment that must come out nowhere"
)
def test_no_secret_comes_out_of_a_store_that_refuses(moto_bucket, own_secrets, caplog, capfd):
    with pytest.raises(StoreRefusedError) as raised:
        run_into("s3://no-such-bucket-here/store", tiny_rooms(1))
    assert_untold(raised.value, caplog, capfd)
