"""Names and reasons of a store are a stranger's words: no terminal obeys them and no spreadsheet computes them."""

import csv
import io
import json
from dataclasses import fields

import pytest

from lift3d.domain.keys import digest_bytes, shown
from lift3d.domain.scores import ScoreRow
from lift3d.runs.records import rows_path
from lift3d.tables.schema import ScoreTable
from tests.support.forged import command, edit_records

KIND = "8 secrets and words"
# A title, a clear, hidden text, colours of eight bits, overwriting, deleting, letters in another order, another line.
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x1b[8m\x9b31m\rover\x08\x08\x7f\u202egnp.\u2066\u2028"
OBEYED = {chr(code) for code in (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))} - {"\n"}


def row_of(**given):
    blank = {one.name: "" for one in fields(ScoreRow)} | {"value": 1.0, "weight": 1.0, "coverage": 1.0}
    return ScoreRow(**blank | given)


def with_rows(store, **texts):
    """Give a run's only scene rows with these texts, and the record their digest."""
    path = next(store.glob("runs/*/scenes/*.json"))
    record = json.loads(path.read_text())
    given = {"scene": "s", "operator": "rgb", "lifter": "plane_sweep", "metric": "psnr", "outcome": "ok"}
    content = ScoreTable.from_rows([row_of(**given | texts)]).to_parquet()
    (store / rows_path(path.parents[1].name, record["location"])).write_bytes(content)
    told = {name: text for name, text in texts.items() if name in record}
    path.write_text(json.dumps({**record, "rows": digest_bytes(content), **told}))


def obeyed(said):
    """Return the characters that a terminal obeys, but for the colours of our own errors."""
    return OBEYED & {*said.replace("\x1b[31m", "").replace("\x1b[0m", "")}


@pytest.mark.outside(kind=KIND, case="terminal escapes in a store's names and reasons", right="printed as their codes")
@pytest.mark.parametrize(
    "words",
    ["status", "tables", "tables --format csv", "report --out r.html", "fsck", "export a.ply", "view", "compare"],
)
def test_no_terminal_obeys_a_store(store, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    edit_records(store, scene=f"sc{ESCAPE}ene")
    with_rows(store, scene=f"sc{ESCAPE}ene", operator=f"op{ESCAPE}", reason=f"why {ESCAPE}", metric=f"m{ESCAPE}")
    if words == "status":
        edit_records(store, outcome="failed", reason=f"scene: {ESCAPE}")
    if words == "view":
        edit_records(store, operator=f"rgb{ESCAPE}")
        words = "view --operator missing"
    run = next(store.glob("runs/*")).name
    name, *others = words.split()
    _, said = command(name, store, *([run, run] if name == "compare" else []), *others)
    assert not obeyed(said), said


@pytest.mark.outside(kind=KIND, case="terminal escapes in errors and progress of a run", right="printed as their codes")
def test_no_terminal_obeys_an_error_or_a_line_of_a_run(tmp_path):
    said = command("run", f"/no/such{ESCAPE}", "--operator", "rgb", "--store", tmp_path / "store")[1]
    assert not obeyed(said.replace("\x1b[1m", ""))
    assert not obeyed(command("status", tmp_path / f"no{ESCAPE}")[1])


@pytest.mark.outside(kind=KIND, case="formulas in names of a store", right="a ' before cells that begin with = + - @")
@pytest.mark.parametrize("column", ["scene", "operator", "lifter", "target", "reason", "protocol", "metric"])
@pytest.mark.parametrize("formula", ['=HYPERLINK("x","y")', "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "＝1"])
def test_no_spreadsheet_computes_a_store(column, formula):
    text = ScoreTable.from_rows([row_of(outcome="ok", value=-1.0, **{column: formula})]).to_csv()
    (found,) = csv.DictReader(io.StringIO(text, newline=""))
    assert found[column] == ("'" * (formula[0] in "=+-@") + shown(formula))
    assert found["value"] == "-1.0"
    assert not found[column].startswith(("=", "+", "-", "@", "\t", "\r"))
