"""The front page: one screen, pictures that are there, an example that runs."""

import re
import shutil

import pytest

from lift3d.torchvision_guard import ensure_torchvision
from tests.docs.fences import DOCS, ROOT, fences, pages
from tests.docs.prepared import SMALL, write_capture

_PICTURE_BYTES = 1_500_000


def test_it_is_one_screen():
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 70


def test_pictures_are_small_and_shown():
    pictures = sorted((DOCS / "pictures").iterdir())
    assert sum(path.stat().st_size for path in pictures) < _PICTURE_BYTES
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in pages())
    assert not [path.name for path in pictures if path.name not in text]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_links_of_the_root_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (example,) = [fence for fence in fences("README.md") if fence.language == "python"]
    assert example.text.count("\n") <= 14
    write_capture(tmp_path / "desk")
    monkeypatch.chdir(tmp_path)
    text = example.text
    for own, small in SMALL.items():
        text = text.replace(own, small)
    # Where torchvision does not fit torch, as in some sandboxes, timm cannot be imported first.
    ensure_torchvision()
    exec(compile(text, "README.md", "exec"), {})
    assert (tmp_path / "desk.png").stat().st_size > 1000
    shutil.rmtree(tmp_path / "desk")
    said = capsys.readouterr().out
    assert "raw2d" in said
    assert "features_0" in said
