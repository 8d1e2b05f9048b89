"""The site builds without a warning, asks no other host for anything, and finds what is searched for."""

import json
import os
import re
import subprocess
import sys

import pytest

from tests.docs.fences import ROOT
from tests.support.browser import opened_page

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

# What a browser loads by itself: scripts, styles, pictures, fonts, frames. A link is only a link.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\s(?:src|srcset|data|poster)\s*=\s*["']?(https?:)?//[^"'>\s]+"""
    r"""|<link\b(?=[^>]*rel=["']?(?:stylesheet|preconnect|preload|dns-prefetch|icon|manifest|modulepreload))[^>]*href=["']?(https?:)?//[^"'>\s]+"""
)
_STYLED = re.compile(r"""url\(\s*["']?(?:https?:)?//|@import\s+["'](?:https?:)?//""")
# Hosts that the theme's scripts know how to ask, each only if mkdocs.yml names a repository or a version, or a page
# holds a diagram; none does.
_DORMANT = {"api.github.com", "unpkg.com"}
_ASKED = re.compile(r"""(?:fetch|import|importScripts|open|Worker)\s*\(\s*["'`](?:https?:)?//([^/"'`]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-4000:]
    assert "WARNING" not in made.stderr, made.stderr[-4000:]
    return folder


def test_no_page_style_or_script_asks_another_host_and_no_source_of_the_site_is_published(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    loaded = [f"{page.name}: {found[0]}" for page in pages for found in _LOADED.finditer(page.read_text("utf-8"))]
    assert not loaded
    assert not list(site.rglob("*.py"))
    styles = [path for path in site.rglob("*.css") if _STYLED.search(path.read_text("utf-8"))]
    assert not styles
    asked = {host for path in site.rglob("*.js") for host in _ASKED.findall(path.read_text("utf-8"))}
    assert asked <= _DORMANT
    sources = [page.name for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text("utf-8")]
    assert not sources, "a diagram makes the theme fetch a library"


def test_what_a_page_loads_is_recognised():
    assert _LOADED.search('<script async src="https://elsewhere.example/a.js">')
    assert _LOADED.search('<link rel="stylesheet" href="//elsewhere.example/a.css">')
    assert not _LOADED.search('<a href="https://elsewhere.example">words</a><img src="a.png"><script src="b.js">')


def test_search_knows_every_page(site):
    entries = json.loads((site / "search" / "search_index.json").read_text("utf-8"))["docs"]
    known = {entry["location"].partition("#")[0] for entry in entries}
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html") if page.name != "404.html"}
    assert pages <= {location or "index.html" for location in known}
    assert (site / "search" / "search_index.js").exists(), "for pages that are opened as files"


def test_the_reference_says_what_the_commands_and_docstrings_say(site):
    commands = (site / "reference" / "command-line.html").read_text("utf-8")
    for name in ("lift3d run", "lift3d ingest", "lift3d bench lifters", "--retry-quarantined"):
        assert name in commands
    import lift3d

    pages = ("python", "recipe", "parts", "errors")
    reference = "".join((site / "reference" / f"{page}.html").read_text("utf-8") for page in pages)
    missing = [name for name in lift3d.__all__ if f".{name}" not in reference]
    assert not missing


def test_search_works_in_a_page_that_was_opened_as_a_file(site):
    with opened_page() as (page, traffic):
        page.goto((site / "index.html").as_uri())
        page.click("input.md-search__input")
        page.locator("input.md-search__input").press_sequentially("quarantined")
        page.wait_for_selector(".md-search-result__item", timeout=20000)
        assert any("quarantined" in text for text in page.locator(".md-search-result__item").all_inner_texts())
    assert not [url for url in traffic.asked if url.startswith("http")]
