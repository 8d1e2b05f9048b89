"""Every row of the fault matrix is shown by a test, and the pages tell what tests did."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.marked_pages import KINDS, ROWS, FaultMatrix, OutsideCases

TESTS = Path(__file__).parents[1]
CASE = {"kind": KINDS[8], "case": "c", "right": "r"}


def test_every_row_says_what_is_expected_and_is_shown_by_a_test():
    assert len(ROWS) == len({fault for fault, _ in ROWS.values()}) == 40
    assert all(fault and expected for fault, expected in ROWS.values())
    found = (re.findall(r"mark\.fault\(\s*(\d+)", path.read_text(encoding="utf-8")) for path in TESTS.rglob("*.py"))
    assert {int(number) for numbers in found for number in numbers} == set(ROWS)


def item(*args, name="tests/test_x.py::test_y", **kwargs):
    return SimpleNamespace(nodeid=name, iter_markers=lambda kind: [SimpleNamespace(args=args, kwargs=kwargs)])


@pytest.mark.parametrize(
    ("page", "args", "kwargs"),
    [
        *((FaultMatrix, args, {}) for args in [(0, "how"), (41, "how"), ("1", "how"), (1,), (1, " "), (1, "a\nb")]),
        *(
            (OutsideCases, (), change)
            for change in [{}, {**CASE, "kind": "k"}, {**CASE, "right": ""}, {**CASE, "more": "m"}]
        ),
    ],
)
def test_a_marker_of_no_row_fails_the_collection(page, args, kwargs):
    with pytest.raises(pytest.UsageError, match="test_y"):
        page(None).pytest_collection_modifyitems([item(*args, **kwargs)])


def report(name, outcome, when="call", longrepr=None):
    flags = {kind: outcome == kind for kind in ("passed", "failed", "skipped")}
    return SimpleNamespace(nodeid=name, when=when, longrepr=longrepr, user_properties=[("got", "42")], **flags)


def test_the_pages_tell_what_tests_did(tmp_path):
    matrix, cases = FaultMatrix(tmp_path / "docs/page.md"), OutsideCases(tmp_path / "cases.md")
    names = {1: ["a.py::test_a[1]", "a.py::test_a[2]"], 2: ["b.py::test_b"], 3: ["c.py::test_c"], 4: ["d.py::test_d"]}
    matrix.pytest_collection_modifyitems([item(n, "how | so", name=one) for n, some in names.items() for one in some])
    cases.pytest_collection_modifyitems([item(name=name, **CASE) for name in names[1]])
    for page in (matrix, cases):
        for name in names[1]:
            for when in ("setup", "call", "teardown"):
                page.pytest_runtest_logreport(report(name, "passed", when))
        page.pytest_runtest_logreport(report(names[2][0], "passed"))
        page.pytest_runtest_logreport(report(names[2][0], "failed", "teardown"))
        page.pytest_runtest_logreport(report(names[3][0], "skipped", "setup", ("c.py", 1, "Skipped: no GPU")))
        page.pytest_sessionfinish()
    rows = [line for line in (tmp_path / "docs/page.md").read_text().splitlines() if re.match(r"\| \d", line)]
    assert [row.split(" | ")[0] for row in rows] == [f"| {number}" for number in ROWS]
    assert "how \\| so" in rows[0]
    assert "passed (2 tests): `a.py::test_a` |" in rows[0]
    assert "**FAILED**: `b.py::test_b`" in rows[1]
    assert "**not run**: no GPU" in rows[2]
    assert rows[3].endswith("**not run** |")
    assert all(cell in rows[0] for cell in ROWS[1])
    text = (tmp_path / "cases.md").read_text()
    assert f"| {KINDS[8]} | 1 | 2 | 1 | 0 |\n" in text
    assert text.endswith(f"| c | {KINDS[8]} | r | 42 | 2: `1`, `2` |\n")
