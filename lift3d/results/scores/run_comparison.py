"""Two runs, operators or lifters side by side: paired differences, and whether the second is worse."""

import json
import math
import shlex
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lift3d.domain.records import counted
from lift3d.errors import ConfigError
from lift3d.metrics.catalog import BETTER
from lift3d.results.scores.protocols import protocols_in_words
from lift3d.runs.records import choose_run, read_recipe
from lift3d.runs.status import run_states
from lift3d.runs.table import RunTable
from lift3d.storage.location import Store, open_store
from lift3d.tables.comparison import compare_rows
from lift3d.tables.rendering import text_table, to_markdown
from lift3d.tables.schema import DataFrame, ScoreTable, stacked

# So few units lie all on one side of 0 by chance in more than 5 of 100 cases: 2 · 2^-n > 0.05.
FEW = 5
_LEGEND = (
    "verdict: on B, better or worse where the 95 % interval (bootstrap) excludes 0, differs where no side is better."
)

# One name of A and one of B; empty: all that both have.
Pair = tuple[str, str]
_ALL: Pair = ("", "")


@dataclass(frozen=True, slots=True)
class ComparedSide:
    """A run, and the operator and lifter of it that are compared; all that both sides have, where they are empty."""

    store: Store
    run_id: str
    operator: str = ""
    lifter: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class RunComparison:
    """Two runs side by side, in lines of compare_rows; ``by_name_count`` scenes were joined by their names.

    ``sides`` are the two, ``scenes`` what the scenes of both are called in each.
    """

    a: str
    b: str
    lines: DataFrame
    sides: tuple["ComparedSide", "ComparedSide"]
    scenes: tuple[tuple[str, str], ...]
    shared_count: int
    by_name_count: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    @property
    def has_regression(self) -> bool:
        """Whether some metric of the second run is worse, and the interval excludes 0."""
        return bool((self.lines["verdict"] == "worse").any())

    @property
    def protocols(self) -> str:
        """What the protocols of the lines mean."""
        return protocols_in_words(sorted(set(self.lines["protocol"])))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values, NaN as None."""
        return {
            "a": self.a,
            "b": self.b,
            "shared_scenes": self.shared_count,
            "joined_by_name": self.by_name_count,
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "has_regression": self.has_regression,
            "lines": json.loads(self.lines.to_json(orient="records", double_precision=15)),
        }

    def to_text(self) -> str:
        """Return the counts and the table."""
        named = f", {self.by_name_count} of them joined by name, for their locations differ" * bool(self.by_name_count)
        head = (
            f"A {self.a} · B {self.b} · {self.shared_count} scenes in both{named} · "
            f"{len(self.only_a)} only in A · {len(self.only_b)} only in B"
        )
        shown = [name for name in ("target_mode", "protocol", "threshold_source") if self.lines[name].nunique() != 1]
        # Scored by depth in some scenes and by tracks in others, a figure has two lines.
        if self.lines.duplicated(["operator", "lifter", "metric", *shown]).any():
            shown.append("scoring_geometry")
        headings = ["operator", "lifter", "metric", *shown, "verdict", "A", "B", "B − A", "95 % interval", "over"]
        cells = [
            [
                *(line[name] or "–" for name in headings[: 4 + len(shown)]),
                *(f"{line[name]:.4f}" for name in ("mean_a", "mean_b")),
                f"{line['difference']:+.4f}",
                "–" if math.isnan(line["low"]) else f"[{line['low']:+.4f}, {line['high']:+.4f}]",
                f"{resampled(line)}, {line['only_a']} only in A, {line['only_b']} only in B",
            ]
            for line in self.lines.to_dict("records")
        ]
        text = [to_markdown(text_table(headings, cells, 4 + len(shown), caption=head)), "", self.protocols, _LEGEND]
        is_few = (self.lines["unit"] == "scenes") & self.lines["scenes"].le(FEW)
        if bool(is_few.any()):
            text += [f"{FEW} scenes or fewer say little: all lie on one side of 0 by chance in more than 5 of 100."]
        return "\n".join(text)


def resampled(line: Mapping[Hashable, Any]) -> str:
    """Return in words what a line's interval is over: 3 scenes, or the 1 view of one."""
    return counted(*((line["scenes"], "scene") if line["unit"] == "scenes" else (line["pairs"], "view")))


def compare_runs(
    url: str, a: str, b: str, metrics: Sequence[str] = (), operators: Pair = _ALL, lifters: Pair = _ALL
) -> RunComparison:
    """Compare two runs (run ids, or URL#RUN for those of another store) on what both have.

    ``operators`` and ``lifters`` name one of A and one of B, to compare what is called otherwise; the runs may be one.
    """
    pairs = (operators, lifters)
    tables, sides = [], []
    for place, reference in enumerate((a, b)):
        where, _, run_id = reference.rpartition("#")
        store = open_store(where or url)
        tables.append(RunTable.of(store, choose_run(store, run_id)))
        sides.append(ComparedSide(store, tables[-1].run_id, *(pair[place] for pair in pairs)))
    names, by_name_count = _shared_names(tables[0].names, tables[1].names)
    if not names[0]:
        raise ConfigError(f"The runs {a} and {b} share no scene: {_some(tables[0])} against {_some(tables[1])}.")
    rows = [_rows(*one, metrics) for one in zip(tables, names, sides, strict=True)]
    shown = [one.assign(**_joined_names(pairs)) for one in rows]
    lines = compare_rows(shown[0], shown[1], BETTER)
    if lines.empty:
        kinds = [
            sorted({*zip(one["operator"], one["lifter"], one["metric"], one["protocol"], strict=True)}) for one in rows
        ]
        told = [", ".join(" × ".join(kind) for kind in some[:5]) or "no figure" for some in kinds]
        raise ConfigError(
            f"The runs {a} and {b} share {len(names[0])} scenes and no figure of one operator, lifter, metric and "
            f"protocol. A has {told[0]}; B has {told[1]}. Compare runs of the same protocol, or name other metrics."
        )
    only = [
        tuple(sorted(name for location, name in table.names.items() if location not in shared))
        for table, shared in zip(tables, names, strict=True)
    ]
    called = [
        {name: table.names[location] for location, name in shared.items()}
        for table, shared in zip(tables, names, strict=True)
    ]
    scenes = tuple((called[0][name], called[1][name]) for name in sorted(called[0]))
    return RunComparison(a, b, lines, (sides[0], sides[1]), scenes, len(names[0]), by_name_count, *only)


def comparable_runs(url: str) -> str:
    """Return in words which runs of a store can be compared, the last one last, and the command that does it."""
    store = open_store(url)
    states = sorted((one for one in run_states(url) if one.committed), key=lambda one: one.last_at or "")
    if not states:
        return f"No run of {store.url} has lifted a scene yet, so there is nothing to compare: lift3d status {url}"
    last, command = states[-1].run, f"lift3d compare {shlex.quote(url)}"
    lifters = read_recipe(store, last).lifters
    ways = [f"The last two: {command} {states[-2].run} {last}"] if len(states) > 1 else []
    if len(lifters) > 1:
        ways.append(f"Two lifters of one: {command} {last} {last} --lifters {shlex.join([lifters[0], lifters[-1]])}")
    ways.append(f"With another store's: {command} URL#RUN {last}")
    held = [f"  {one.run}  {one.committed} scenes, {one.what}" for one in states]
    return "\n".join([f"Which two runs? {store.url} holds:", *held, *ways])


def _joined_names(pairs: Sequence[Pair]) -> dict[str, str]:
    return {name: f"{a} → {b}" for name, (a, b) in zip(("operator", "lifter"), pairs, strict=True) if a or b}


def _shared_names(a: dict[str, str], b: dict[str, str]) -> tuple[tuple[dict[str, str], dict[str, str]], int]:
    """Return what scenes of both runs are called, by location in each: joined by location, then by name."""
    shared = a.keys() & b.keys()
    names_a, names_b = ({location: location for location in shared} for _ in range(2))
    places_b = {name: location for location, name in b.items() if location not in shared}
    for location, name in a.items():
        if location not in shared and name in places_b:
            names_a[location] = names_b[places_b[name]] = name
    return (names_a, names_b), len(names_a) - len(shared)


def _rows(table: RunTable, shared: dict[str, str], side: ComparedSide, metrics: Sequence[str]) -> DataFrame:
    named = {table.names[location]: name for location, name in shared.items()}
    found = [ScoreTable.from_rows([]).frame]
    for part in table.parts():
        frame = part.frame[part.frame["scene"].isin(named)]
        frame = frame[frame["metric"].isin(metrics)] if metrics else frame
        for name in ("operator", "lifter"):
            frame = frame[frame[name] == getattr(side, name)] if getattr(side, name) else frame
        found.append(frame.assign(scene=frame["scene"].map(named)))
    return stacked(found)


def _some(table: RunTable) -> str:
    names = sorted(table.names.values())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "no scene"
