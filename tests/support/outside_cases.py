"""Part of pytest: checks the markers ``outside`` and writes what came of the tests that carry them as a page.

``pytest --outside-cases=docs/outside-cases.md -m outside`` writes it. ``pytest.mark.outside(kind=…, case=…, right=…)``
says what somebody met and what must come of it; the parameters of its tests are the siblings that were tried, and
``record_property("got", …)`` says what was got.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.fault_matrix import reason_of

FIELDS = ("kind", "case", "right")
_MOST_NAMED = 12


@dataclass
class Tried:
    """What the tests of one case did: by sibling its outcome, what was got, why some did not run; each said once."""

    outcomes: dict[str, str] = field(default_factory=dict)
    got: dict[str, None] = field(default_factory=dict)
    skips: dict[str, None] = field(default_factory=dict)


def trouble_of(marker: pytest.Mark) -> str:
    """Return what is wrong with a marker; empty if nothing is."""
    given = {name: value for name, value in marker.kwargs.items() if isinstance(value, str) and value.strip()}
    if marker.args or tuple(sorted(given)) != tuple(sorted(FIELDS)) or "\n" in "".join(given.values()):
        return f"outside({marker.args}, {marker.kwargs}): expected one line each of {', '.join(FIELDS)}"
    return ""


def page(cases: dict[tuple[str, ...], Tried], day: str) -> str:
    count = sum(len(one.outcomes) for one in cases.values())
    lines = [
        "# Cases from outside",
        "",
        "*What people met elsewhere and attacks tried, with everything like it; what must come of it, and what did.*",
        f"*Written by `make outside-faults` on {day} from {count} tests; not to be edited.*",
        "",
        "| case | kind | right value | what is got | siblings tried |",
        "|---|---|---|---|---|",
    ]
    for (kind, case, right), one in sorted(cases.items()):
        cells = (case, kind, right, _got(one), _siblings(one))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


class OutsideCases:
    """Collects outcomes while tests run, and writes the page at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cases: dict[tuple[str, ...], Tried] = {}
        self._of: dict[str, list[Tried]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note which tests show which case; those that were deselected are gone already or will not report."""
        for item in items:
            for marker in item.iter_markers("outside"):
                case = self._cases.setdefault(tuple(marker.kwargs[name] for name in FIELDS), Tried())
                self._of.setdefault(item.nodeid, []).append(case)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome: any stage that fails makes a test fail."""
        for one in self._of.get(report.nodeid, []):
            if report.failed:
                one.outcomes[report.nodeid] = "failed"
            elif report.skipped:
                one.outcomes[report.nodeid] = "skipped"
                one.skips[reason_of(report)] = None
            elif report.when == "call":
                one.outcomes.setdefault(report.nodeid, "passed")
                one.got |= {str(value): None for name, value in report.user_properties if name == "got"}

    def pytest_sessionfinish(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(page(self._cases, datetime.now(UTC).date().isoformat()), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outside-cases", metavar="PATH", help="write what tests marked outside did to this page")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--outside-cases")
    if path and not config.getoption("collectonly"):
        config.pluginmanager.register(OutsideCases(Path(path).absolute()))


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Raise pytest's UsageError if a marker does not say all of kind, case and right value."""
    for item in items:
        for marker in item.iter_markers("outside"):
            if trouble := trouble_of(marker):
                raise pytest.UsageError(f"{item.nodeid}: {trouble}")


def _got(one: Tried) -> str:
    failed = [name for name, outcome in one.outcomes.items() if outcome == "failed"]
    if failed:
        return f"**FAILED**: {', '.join(f'`{name}`' for name in failed)}"
    if "passed" not in one.outcomes.values():
        return "**not run**" + (f": {'; '.join(one.skips)}" if one.skips else "")
    return "; ".join(one.got) or "as it should be"


def _siblings(one: Tried) -> str:
    """Name what was tried: parameters, or the test where it has none."""
    names = list(dict.fromkeys(node.partition("[")[2].rstrip("]") or node.rpartition("::")[2] for node in one.outcomes))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{len(names)}: {', '.join(f'`{name}`' for name in names[:_MOST_NAMED])}{more}"
