"""Every page is followed by the letter, in a folder of its own: its commands and its examples, from top to bottom.

What a reader has is small here (``prepared``), and ``lift3d run`` stays in this process. What needs servers, a cloud, a
hub or hours is left out, each with its reason; that it parses is tested in ``test_commands_exist``.
"""

import contextlib
import importlib.util
import re
import subprocess
import sys

import pytest

from lift3d.cli import app as cli
from lift3d.scenes.catalog import read_scene
from lift3d.torchvision_guard import ensure_torchvision
from tests.docs.elsewhere import ELSEWHERE
from tests.docs.fences import ROOT, SHELL, fences, pages, shell_lines, simple_commands
from tests.docs.prepared import HEIGHT, PHOTOGRAPHED, furnish, small, write_run
from tests.support.photographs import write_photographs

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),
]

NOT_RUN = {
    r"^make ": "the tests are run by it",
    r"^lift3d doctor": "judges this machine and its services: tests/cli/test_doctor_services.py",
    r"^lift3d view\b": "serves until it is stopped: tests/results and tests/browser run it",
    r"edited": "needs pictures of another program: tests/operators reads some",
    r"--masks ": "needs masks of another program: tests/results reads some",
    r"\?path=|office0": "reads what another system wrote: tests/surface and tests/scenes write it",
    r"--onto ": "needs splats that were trained: tests/results runs it",
    r"^lift3d ingest photos": "takes photographs: the test below, and tests/cli",
    r"s3://": "needs a bucket: tests/storage and tests/cluster run stores on a real one",
    r"--ray-address": "needs a cluster: tests/cluster runs it",
    r"^lift3d (train|finetune)\b": "takes long: tests/training",
    r"transformers:FOLDER|OWNER/NAME": "needs a model that was downloaded",
    r"runs/deployment": "comes of a deployment: tests/cluster/test_prefect_deployment.py",
    r"\.(mp4|mov|MP4|MOV)\b": "takes or makes a video: tests/results runs it",
}
# What others read our files with; an example that imports one runs where it is installed.
OTHER_LIBRARIES = {"trimesh"}
# Servers' pages are commands of others from top to bottom.
PAGES = [
    page
    for page in pages()
    if page != "infra/README.md" and any(fence.language in (*SHELL, "python") for fence in fences(page))
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A capture and a finished run."""
    folder = tmp_path_factory.mktemp("prepared")
    write_run(folder)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_followed(page, prepared, tmp_path, monkeypatch, capfd):
    # Where torchvision does not fit torch, as in some sandboxes, it cannot be imported first.
    ensure_torchvision()
    shown = fences(page)
    furnish(tmp_path, prepared, "".join(fence.text for fence in shown))
    monkeypatch.chdir(tmp_path)
    for fence in shown:
        text = small(fence.text)
        if fence.title:
            (tmp_path / fence.title).write_text(text, encoding="utf-8")
        if fence.language == "python" and not _foreign(text):
            with _said_where(fence):
                exec(compile(text, str(fence), "exec"), {"__name__": "__main__"})
        for line in fence.commands() if fence.language in SHELL else ():
            if not _reason(line):
                with _said_where(f"{fence}: {line}"):
                    _follow(small(line), monkeypatch)


@pytest.mark.slow
def test_photographs_become_a_capture_as_the_pages_say(tmp_path, monkeypatch):
    shown = [[words[:3] for words in simple_commands(line)] for _, line in shell_lines(*PAGES)]
    assert [["lift3d", "ingest", "photos/"]] in shown
    monkeypatch.chdir(tmp_path)
    write_photographs(read_scene(PHOTOGRAPHED), tmp_path / "photos")
    _follow("lift3d ingest photos/ desk/", monkeypatch)
    _follow("lift3d run desk/ --operator rgb --store desk-run", monkeypatch)


def test_reasons_are_needed():
    lines = [line for _, line in shell_lines(*PAGES)]
    assert not [pattern for pattern in NOT_RUN if not any(re.search(pattern, line) for line in lines)]


def _reason(line: str) -> str:
    """Return why a line is not run; empty if it is."""
    programs = [words[0] for words in simple_commands(line)]
    reasons = [why for pattern, why in NOT_RUN.items() if re.search(pattern, line)]
    return next(iter([*reasons, *(ELSEWHERE[one] for one in programs if one in ELSEWHERE and one != "printf")]), "")


def _follow(line, monkeypatch):
    commands = simple_commands(line)
    if len(commands) > 1 or commands[0][0] != "lift3d" or ">" in line:
        subprocess.run(["bash", "-ec", line], check=True, timeout=60)
        return
    words = list(commands[0])
    if words[1] == "run" and "--dry-run" not in words:
        words += ["--serial"]
        words += [] if "--image-height" in words else ["--image-height", str(HEIGHT)]
    words = [_named_run(word, words) for word in words]
    monkeypatch.setattr(sys, "argv", words)
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise AssertionError(f"exit code {end.code}") from None


def _named_run(word: str, words: list[str]) -> str:
    """Put the latest run of its store for RUN, RUN_A and RUN_B, which pages leave to the reader."""
    place, mark, run = word.rpartition("#")
    if not run.startswith("RUN"):
        return word
    import lift3d

    return f"{place}{mark}{lift3d.list_runs(lift3d.open_store(place or words[2]))[-1]}"


def _foreign(text: str) -> bool:
    """Whether an example is about a library that is no dependency and is not here."""
    names = re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)
    return any(name in OTHER_LIBRARIES and importlib.util.find_spec(name) is None for name in names)


@contextlib.contextmanager
def _said_where(where):
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{where} failed: {type(error).__name__}: {error}") from error


def test_the_root_is_not_written_to():
    """Pages run in folders of their own: what they write must not lie in the checkout."""
    assert not [name for name in ("desk", "desk-run", "mine.png", "measured") if (ROOT / name).exists()]
