"""Part of pytest: checks the markers ``fault`` and ``outside`` and writes what came of their tests as pages.

``pytest --fault-matrix=docs/fault-matrix.md -m fault``: with "=", for pytest takes another word for a folder of tests.
``pytest.mark.fault(NUMBER, "how it is injected")`` names a row of tests/faults/matrix.md by its place.
``pytest.mark.outside(kind=…, case=…, right=…)`` says what somebody met and what must come of it; the parameters of its
tests are the siblings that were tried, and ``record_property("got", …)`` says what was got.
"""

from collections.abc import Hashable, Iterable, Iterator
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
# Of what people met elsewhere.
KINDS = (
    *("1 code of a stranger's store runs", "2 another's data is deleted", "3 who may talk to it"),
    *("4 numbers that are wrong without a word", "5 damage that passes or bricks", "6 small input, huge memory"),
    *("7 one bad frame costs the scene, or is used", "8 secrets and words", "9 operations"),
    "scripts as they were given",
)
_MOST_NAMED = 12


@dataclass
class Shown:
    """What the tests of one row did: injections, what was got, outcomes by test, why some did not run; each once."""

    injections: dict[str, None] = field(default_factory=dict)
    got: dict[str, None] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    skips: dict[str, None] = field(default_factory=dict)

    def tests(self, outcome: str) -> list[str]:
        return [name for name, found in self.outcomes.items() if found == outcome]

    def result(self, passed: str) -> str:
        """Say what failed, or why nothing ran, or else what passed."""
        if failed := self.tests("failed"):
            return f"**FAILED**: {_names(failed)}"
        if not self.tests("passed"):
            return "**not run**" + (f": {'; '.join(self.skips)}" if self.skips else "")
        return passed


class Page:
    """Collects what the tests of a marker do while they run, and writes the page, if one is asked for, at the end."""

    marker = option = make = title = motto = ""
    head: tuple[str, ...] = ()

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._of: dict[str, list[Shown]] = {}
        self.rows: dict[Hashable, Shown] = {}

    def row(self, *args: object, **kwargs: object) -> Shown:
        """Return the row that the arguments of a marker name; ValueError or TypeError says what is wrong with them."""
        raise NotImplementedError

    def cells(self) -> Iterator[tuple[str, ...]]:
        raise NotImplementedError

    def summary(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a table before the others, its head first."""
        yield from ()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note which tests show which row, without those that were deselected; UsageError at a marker of none."""
        for item in items:
            for marker in item.iter_markers(self.marker):
                try:
                    self._of.setdefault(item.nodeid, []).append(self.row(*marker.args, **marker.kwargs))
                except (TypeError, ValueError) as error:
                    raise pytest.UsageError(f"{item.nodeid}: {self.marker}: {error}") from None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome: any stage that fails makes a test fail."""
        for one in self._of.get(report.nodeid, []):
            if report.failed:
                one.outcomes[report.nodeid] = "failed"
            elif report.skipped:
                one.outcomes[report.nodeid] = "skipped"
                one.skips[_reason_of(report)] = None
            elif report.when == "call":
                one.outcomes.setdefault(report.nodeid, "passed")
                one.got |= {str(value): None for name, value in report.user_properties if name == "got"}

    def pytest_sessionfinish(self) -> None:
        if self._path is None:
            return
        count = len({name for one in self.rows.values() for name in one.outcomes})
        day = datetime.now(UTC).date().isoformat()
        wrote = f"*Written by `make {self.make}` on {day} from {count} tests; not to be edited.*"
        lines = [f"# {self.title}", "", f"*{self.motto}*", wrote]
        for head, *rows in filter(None, ([*self.summary()], [self.head, *self.cells()])):
            lines.append("")
            for cells in (head, ["---"] * len(head), *rows):
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("\n".join([*lines, ""]), encoding="utf-8")


class FaultMatrix(Page):
    marker, option, make, title = "fault", "--fault-matrix", "fault-matrix", "Fault matrix"
    motto = "What may go wrong in a run over many scenes, and what came of it when it was made to happen."
    head = ("#", "fault", "how it is injected", "expected", "outcome")

    def row(self, number: object, injection: object) -> Shown:
        if number not in ROWS:
            raise ValueError(f"expected the number of a row, 1 to {len(ROWS)}, got {number!r}")
        row = self.rows.setdefault(number, Shown())
        row.injections[_line(injection)] = None
        return row

    def cells(self) -> Iterator[tuple[str, ...]]:
        for number, (fault, expected) in ROWS.items():
            row = self.rows.get(number, Shown())
            passed, skipped = row.tests("passed"), row.tests("skipped")
            count = f"{len(passed)} test{'s' * (len(passed) > 1)}" + (f", {len(skipped)} skipped" if skipped else "")
            outcome = row.result(f"passed ({count}): {_names(node.partition('[')[0] for node in passed)}")
            yield str(number), fault, " · ".join(row.injections) or "–", expected, outcome


class OutsideCases(Page):
    marker, option, make, title = "outside", "--outside-cases", "outside-faults", "Cases from outside"
    motto = "What people met elsewhere and attacks tried, with everything like it; what must come of it, and what did."
    head = ("case", "kind", "right value", "what is got", "siblings tried")

    def row(self, *, kind: object, case: object, right: object) -> Shown:
        if kind not in KINDS:
            raise ValueError(f"expected a kind of {', '.join(KINDS)}, got {kind!r}")
        return self.rows.setdefault((_line(kind), _line(case), _line(right)), Shown())

    def summary(self) -> Iterator[tuple[str, ...]]:
        yield "kind", "cases", "siblings", "in so many tests", "not as they should be"
        for kind in KINDS:
            rows = [row for (of, *_), row in self.rows.items() if of == kind]
            nodes = {node for row in rows for node in row.outcomes}
            wrong = sum(len(row.outcomes) - len(row.tests("passed")) for row in rows)
            yield (
                kind,
                *(str(n) for n in (len(rows), len(nodes), len({node.partition("[")[0] for node in nodes}), wrong)),
            )

    def cells(self) -> Iterator[tuple[str, ...]]:
        for (kind, case, right), row in sorted(self.rows.items()):
            # Parameters, or the test where it has none.
            tried = [node.partition("[")[2].rstrip("]") or node.rpartition("::")[2] for node in row.outcomes]
            names = list(dict.fromkeys(tried))
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            siblings = f"{len(names)}: {_names(names[:_MOST_NAMED])}{more}"
            yield case, kind, right, row.result("; ".join(row.got) or "as it should be"), siblings


def pytest_addoption(parser: pytest.Parser) -> None:
    for page in (FaultMatrix, OutsideCases):
        parser.addoption(page.option, metavar="PATH", help=f"write what tests marked {page.marker} did to this page")


def pytest_configure(config: pytest.Config) -> None:
    for page in (FaultMatrix, OutsideCases):
        path = config.getoption(page.option)
        is_written = path and not config.getoption("collectonly")
        config.pluginmanager.register(page(Path(path).absolute() if is_written else None))


def _line(text: object) -> str:
    if not isinstance(text, str) or not text.strip() or "\n" in text:
        raise ValueError(f"expected a line of text, got {text!r}")
    return text


def _names(found: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(found))


def _reason_of(report: pytest.TestReport) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(getattr(report, "wasxfail", ""))
    return said.removeprefix("Skipped: ").splitlines()[0] if said else "skipped"
