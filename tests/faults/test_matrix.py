"""Every row of the fault matrix is shown by a test, and the page tells what tests did."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.fault_matrix import ROWS, FaultMatrix, markers_in, pytest_collection_modifyitems, trouble_of

TESTS = Path(__file__).parents[1]


def test_every_row_says_what_is_expected_and_is_shown_by_a_test():
    assert len(ROWS) == len({fault for fault, _ in ROWS.values()}) == 40
    assert all(fault and expected for fault, expected in ROWS.values())
    markers = list(markers_in(TESTS))
    assert [f"{place}: {trouble}" for place, args in markers if (trouble := trouble_of(*args[:2]))] == []
    assert set(ROWS) - {args[0] for _, args in markers} == set()


def item(*args: Any, name: str = "tests/test_x.py::test_y") -> Any:
    return SimpleNamespace(nodeid=name, iter_markers=lambda kind: [SimpleNamespace(args=args)])


@pytest.mark.parametrize("args", [(0, "how"), (41, "how"), ("1", "how"), (True, "how"), (1,), (1, " "), (1, "a\nb")])
def test_a_marker_of_no_row_fails_the_collection(args):
    with pytest.raises(pytest.UsageError, match="test_y"):
        pytest_collection_modifyitems([item(*args)])
    pytest_collection_modifyitems([item(40, "how")])


def report(name: str, outcome: str, when: str = "call", longrepr: object = None) -> Any:
    flags = {kind: outcome == kind for kind in ("passed", "failed", "skipped")}
    return SimpleNamespace(nodeid=name, when=when, longrepr=longrepr, **flags)


def test_the_page_tells_what_tests_did(tmp_path):
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
    rows = [line for line in path.read_text().splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [row.split(" | ")[0] for row in rows] == [f"| {number}" for number in ROWS]
    assert "how \\| so" in rows[0]
    assert "passed (2 tests): `a.py::test_a` |" in rows[0]
    assert "**FAILED**: `b.py::test_b`" in rows[1]
    assert "**not run**: no GPU" in rows[2]
    assert rows[3].endswith("**not run** |")
    assert all(cell in rows[0] for cell in ROWS[1])
