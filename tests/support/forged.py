"""What a stranger does to a store of his own: he changes what he likes and signs it again, for sums are no secrets."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lift3d.cli.app import main
from lift3d.config import Recipe, parse_recipe
from lift3d.domain.keys import digest
from lift3d.runs.records import list_runs
from lift3d.storage.location import open_store
from lift3d.storage.manifest import Entry
from tests.support.runs import canonical_table, run_into, tiny_rooms

Group = dict[str, Any]
SEAL = "0" * 64


def product_of(store: Path, words: str) -> Path:
    """Return the folder of the first product whose path has these words."""
    found = sorted(path.parent for path in store.glob("scenes/*/*/**/zarr.json") if "lift3d_seal" in path.read_text())
    return next(path for path in found if words in str(path.relative_to(store)))


def forge(product: Path, change: Callable[[Group], object] = lambda group: None) -> None:
    """Change the group file of a product, make its sums those of what lies there, and seal it."""
    path = product / "zarr.json"
    group = json.loads(path.read_text())
    change(group)
    own = group["attributes"]["lift3d"]
    for part in (own, *own["parts"]):
        for key in part["objects"]:
            entry = Entry.of((product / key).read_bytes())
            part["objects"][key] = [entry.size, entry.crc32]
    own["lift3d_seal"] = SEAL
    text = json.dumps(group, sort_keys=True)
    path.write_text(text.replace(SEAL, hashlib.sha256(text.encode()).hexdigest()))


def views_of(group: Group) -> list[dict[str, Any]]:
    return [view for part in group["attributes"]["lift3d"]["parts"] for view in part["note"]["views"]]


def arrays_of(group: Group) -> dict[str, Any]:
    found: dict[str, Any] = group["consolidated_metadata"]["metadata"]
    return found


def rename_run(store: Path, **fields: object) -> Recipe:
    """Change the recipe of the store's run, and where the run lies, as if another had begun it."""
    (run,) = list_runs(open_store(str(store)))
    folder = store / "runs" / run
    recipe = parse_recipe({**json.loads((folder / "recipe.json").read_text()), **fields})
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    folder.rename(folder.with_name(recipe.run_id))
    return recipe


def edit_records(store: Path, **fields: object) -> None:
    """Change fields of every record; a new ``operator`` is that of all its products, and a location moves it."""
    for path in store.glob("runs/*/scenes/*.json"):
        record = json.loads(path.read_text())
        old = digest(record["location"])
        record.update({name: value for name, value in fields.items() if name in record})
        for name in ("operator", "lifter"):
            for product in record["lifted"]:
                if name in fields and (name == "operator" or product["lifter"] != "raw2d"):
                    product[name] = fields[name]
        path.unlink()
        new = digest(record["location"])
        path.with_name(f"{new}.json").write_text(json.dumps(record))
        rows = path.parents[1] / "scores" / f"{old}.parquet"
        if new != old:
            shutil.move(rows, rows.with_name(f"{new}.parquet"))


def command(*arguments: object) -> tuple[int, str]:
    """Run a command line as a user does; return the exit code and all that was said."""
    with CliRunner().isolation(color=True) as (out, err, _):
        try:
            main([*map(str, arguments)])
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, (out.getvalue() + err.getvalue()).decode()


def is_refused(said: tuple[int, str], words: str) -> bool:
    """Whether a command ended by one of our own errors, with these words."""
    assert said[0] in (1, 2), said
    assert words in said[1], said
    return True


def check_runs_again(store: Path, table: bytes) -> None:
    """See that the next run ends well, with the table of a store that nothing happened to; and so does one more."""
    for _ in range(2):
        (record,) = run_into(str(store), tiny_rooms(1))
        assert record.is_ok, record.reason
        assert canonical_table(str(store), tiny_rooms(1)) == table
    assert command("fsck", store, "--checksums")[0] == 0
