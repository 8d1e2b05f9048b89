"""The hook of mkdocs: links of files at the root, tables of generated pages."""

import importlib.util
import pydoc
import re

import pytest
from mkdocs.exceptions import PluginError

from tests.docs.fences import DOCS, GENERATED, ROOT, fences


@pytest.fixture(scope="module")
def hook():
    """The module of the hook, which is a file and in no package."""
    spec = importlib.util.spec_from_file_location("pages_hook", DOCS / "pages_from_the_repository.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_lead_to_pages_and_of_what_is_none_the_words_stay(hook):
    text = "[a](docs/tasks.md#words) [b](CONVENTIONS.md) [c](notebooks/) [d](https://x.example) [e](#here)"
    shown = hook.with_page_links(text, "README.md")
    assert shown == "[a](tasks.md#words) [b](conventions.md) c [d](https://x.example) [e](#here)"
    assert hook.with_page_links("[up](../ARCHITECTURE.md)", "infra/README.md") == "[up](architecture.md)"
    assert all((ROOT / source).exists() for source in hook.PAGES.values())


def test_every_table_that_a_page_asks_for_is_there_and_one_that_is_gone_stops_the_build(hook):
    asked = [
        (page, found[1], found[2])
        for page in DOCS.rglob("*.md")
        for found in hook._TABLE.finditer(page.read_text(encoding="utf-8"))
    ]
    assert len(asked) >= 4
    for _, source, heading in asked:
        table = hook.table_of(source, heading)
        assert table.startswith("|")
        assert table.count("\n") > 3
        # Letter by letter what the command wrote.
        assert table.partition("\n\n")[0] in (DOCS / source).read_text(encoding="utf-8")
        assert source in GENERATED
    with pytest.raises(PluginError, match=r"no table under 'Gone'; its headings are .*Novel views"):
        hook.table_of("results.md", "Gone")


def test_no_figure_of_the_overview_was_typed():
    text = re.sub(r"<!--.*?-->", "", (DOCS / "results-overview.md").read_text(encoding="utf-8"))
    assert not re.findall(r"\d+\.\d+|\d+ ?%", text)


def test_what_the_reference_names_is_there():
    names = {name for page in DOCS.rglob("*.md") for name in re.findall(r"^::: (\S+)", page.read_text("utf-8"), re.M)}
    assert len(names) > 20
    assert [name for name in sorted(names) if pydoc.locate(name) is None] == []


def test_the_readme_is_one_screen():
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 70
    (example,) = [fence for fence in fences("README.md") if fence.language == "python"]
    assert example.text.count("\n") <= 14


def test_pictures_are_small_and_shown():
    pictures = sorted((DOCS / "pictures").iterdir())
    assert sum(path.stat().st_size for path in pictures) < 1_500_000
    written = [ROOT / "README.md", *DOCS.rglob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in written)
    assert not [path.name for path in pictures if path.name not in text]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_links_of_the_root_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    assert not [link for link in links if not (ROOT / link).exists()]
