"""Every row of the fault matrix is shown by a test or says why not, and the page tells what tests did."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults.matrix import MOST_NOT_AUTOMATED, NOT_AUTOMATED, ROWS
from tests.support.fault_matrix import FaultMatrix, Shown, markers_in, page, refuse_bad_markers

TESTS = Path(__file__).parents[1]


def test_rows_are_numbered_and_say_what_is_expected() -> None:
    assert [row.number for row in ROWS] == list(range(1, 41))
    assert all(row.fault and row.expected for row in ROWS)
    assert len({row.fault for row in ROWS}) == len(ROWS)


def test_markers_are_numbers_of_rows_with_an_injection() -> None:
    wrong = [f"{one.path}:{one.line}: {one.trouble}" for one in markers_in(TESTS) if one.trouble]
    assert not wrong, "\n".join(wrong)


def test_every_fault_is_shown_by_a_test_or_says_why_not() -> None:
    shown = {marker.number for marker in markers_in(TESTS)}
    missing = [f"{row.number}: {row.fault}" for row in ROWS if row.number not in shown | set(NOT_AUTOMATED)]
    assert not missing, "no test carries the marker fault of\n" + "\n".join(missing)
    assert not shown & set(NOT_AUTOMATED), "has tests and a reason for having none"
    assert len(NOT_AUTOMATED) <= MOST_NOT_AUTOMATED
    assert all(reason.strip() for reason in NOT_AUTOMATED.values())


def item(*args: Any, name: str = "tests/test_x.py::test_y") -> Any:
    return SimpleNamespace(nodeid=name, iter_markers=lambda kind: [SimpleNamespace(args=args)])


@pytest.mark.parametrize("args", [(0, "how"), (41, "how"), ("1", "how"), (True, "how"), (1,), (1, " "), (1, "a\nb")])
def test_a_marker_of_no_row_fails_the_collection(args: tuple[Any, ...]) -> None:
    with pytest.raises(pytest.UsageError, match="test_y"):
        refuse_bad_markers([item(*args)])
    refuse_bad_markers([item(40, "how")])


def test_markers_are_found_without_importing(tmp_path: Path) -> None:
    found = tmp_path / "test_a.py"
    found.write_text(
        "@pytest.mark.fault(7, 'a' 'b')\ndef test(): 1 / 0\nx = pytest.param(1, marks=pytest.mark.fault(n))"
    )
    assert [(one.line, one.number, one.injection) for one in markers_in(tmp_path)] == [(1, 7, "ab"), (3, None, None)]


def report(name: str, outcome: str, when: str = "call", longrepr: object = None) -> Any:
    flags = {kind: outcome == kind for kind in ("passed", "failed", "skipped")}
    return SimpleNamespace(nodeid=name, when=when, longrepr=longrepr, **flags)


def test_the_page_tells_what_tests_did(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "page.md"
    matrix = FaultMatrix(path)
    names = {1: ["a.py::test_a[1]", "a.py::test_a[2]"], 2: ["b.py::test_b"], 3: ["c.py::test_c"], 4: ["d.py::test_d"]}
    matrix.pytest_collection_modifyitems([item(n, "how | so", name=one) for n, some in names.items() for one in some])
    for name in names[1]:
        for when in ("setup", "call", "teardown"):
            matrix.pytest_runtest_logreport(report(name, "passed", when))
    matrix.pytest_runtest_logreport(report(names[2][0], "passed"))
    matrix.pytest_runtest_logreport(report(names[2][0], "failed", "teardown"))
    matrix.pytest_runtest_logreport(report(names[3][0], "skipped", "setup", ("c.py", 1, "Skipped: no GPU")))
    matrix.pytest_sessionfinish()
    lines = path.read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ") and line[2].isdigit()]
    assert [row.split(" | ")[0] for row in rows] == [f"| {number}" for number in range(1, 41)]
    assert "how \\| so" in rows[0]
    assert "passed (2 tests): `a.py::test_a` |" in rows[0]
    assert "**FAILED**: `b.py::test_b`" in rows[1]
    assert "**not run**: no GPU" in rows[2]
    assert rows[3].endswith("**not run** |")
    assert all(cell in rows[0] for cell in (ROWS[0].fault, ROWS[0].expected))


def test_what_is_not_automated_says_why() -> None:
    assert "not automated: needs a cloud" in page({1: Shown()}, "2026-01-01", {1: "needs a cloud"})
    assert "2026-01-01" in page({}, "2026-01-01")
