"""Part of pytest: checks the markers ``fault`` and writes what came of the tests that carry them as a page.

``pytest --fault-matrix=docs/fault-matrix.md -m fault``: with "=", for pytest takes another word for a folder of tests.
The faults stand in tests/faults/matrix.md; ``pytest.mark.fault(NUMBER, "how it is injected")`` names one by its place.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

TABLE = Path(__file__).parents[1] / "faults" / "matrix.md"
# What goes wrong and what must come of it, by number.
ROWS = {
    number: tuple(line.strip("| \n").split(" | "))
    for number, line in enumerate(TABLE.read_text(encoding="utf-8").splitlines()[2:], start=1)
}


@dataclass
class Shown:
    """What the tests of one row did: injections, outcomes by test, why some were skipped; each said once."""

    injections: dict[str, None] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    skips: dict[str, None] = field(default_factory=dict)


def trouble_of(number: object = None, injection: object = None) -> str:
    """Return what is wrong with a marker's arguments; empty if nothing is."""
    if number is True or number not in ROWS:
        return f"fault({number!r}, …): expected the number of a row, 1 to {len(ROWS)}"
    if not isinstance(injection, str) or not injection.strip() or "\n" in injection:
        return f"fault({number}, {injection!r}): expected one line on how the fault is injected"
    return ""


def markers_in(folder: Path) -> Iterator[tuple[str, list[object]]]:
    """Yield place and arguments of all markers below a folder, without importing the tests."""
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text if "mark.fault" in text else "")):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                yield f"{path}:{node.lineno}", [getattr(one, "value", None) for one in node.args]


def page(shown: Mapping[int, Shown], day: str) -> str:
    count = len({name for one in shown.values() for name in one.outcomes})
    lines = [
        "# Fault matrix",
        "",
        "*What may go wrong in a run over many scenes, and what came of it when it was made to happen.*",
        f"*Written by `make fault-matrix` on {day} from {count} tests; not to be edited.*",
        "",
        "| # | fault | how it is injected | expected | outcome |",
        "|---|---|---|---|---|",
    ]
    for number, (fault, expected) in ROWS.items():
        one = shown.get(number, Shown())
        cells = (str(number), fault, " · ".join(one.injections) or "–", expected, _outcome(one))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


class FaultMatrix:
    """Collects outcomes while tests run, and writes the page at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown: dict[int, Shown] = {}
        self._numbers: dict[str, list[int]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note which tests show which row; those that were deselected are gone already or will not report."""
        for item in items:
            for marker in item.iter_markers("fault"):
                number, injection = marker.args
                self._shown.setdefault(number, Shown()).injections[injection] = None
                self._numbers.setdefault(item.nodeid, []).append(number)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome: any stage that fails makes a test fail."""
        for number in dict.fromkeys(self._numbers.get(report.nodeid, [])):
            one = self._shown[number]
            if report.failed:
                one.outcomes[report.nodeid] = "failed"
            elif report.skipped:
                one.outcomes[report.nodeid] = "skipped"
                one.skips[reason_of(report)] = None
            elif report.when == "call":
                one.outcomes.setdefault(report.nodeid, "passed")

    def pytest_sessionfinish(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(page(self._shown, datetime.now(UTC).date().isoformat()), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-matrix", metavar="PATH", help="write what tests marked fault did to this page")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--fault-matrix")
    if path and not config.getoption("collectonly"):
        config.pluginmanager.register(FaultMatrix(Path(path).absolute()))


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Raise pytest's UsageError if a marker names no row, or does not say how its fault is injected."""
    for item in items:
        for marker in item.iter_markers("fault"):
            if trouble := trouble_of(*marker.args[:2]):
                raise pytest.UsageError(f"{item.nodeid}: {trouble}")


def _outcome(one: Shown) -> str:
    failed, passed, skipped = (
        [name for name, outcome in one.outcomes.items() if outcome == kind] for kind in ("failed", "passed", "skipped")
    )
    if failed:
        return f"**FAILED**: {_names(failed)}"
    if not passed:
        return "**not run**" + (f": {'; '.join(one.skips)}" if one.skips else "")
    count = "1 test" if len(passed) == 1 else f"{len(passed)} tests"
    left = f", {len(skipped)} skipped" if skipped else ""
    return f"passed ({count}{left}): {_names(passed)}"


def _names(nodes: Iterable[str]) -> str:
    """Name the functions of tests, each once, without the values of their parameters."""
    return ", ".join(f"`{name}`" for name in dict.fromkeys(node.partition("[")[0] for node in nodes))


def reason_of(report: pytest.TestReport) -> str:
    """Return why a test was skipped."""
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(getattr(report, "wasxfail", ""))
    return said.removeprefix("Skipped: ").splitlines()[0] if said else "skipped"
