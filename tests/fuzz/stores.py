"""Any object of a store changed, and signed again or not: read by all that reads it, and run upon again."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from hypothesis import strategies as st

from lift3d.config import Execution
from lift3d.domain.features import SceneState
from lift3d.errors import Lift3dError
from lift3d.operators.rgb import RgbOperator
from lift3d.pipeline.fit import read_state, write_state
from lift3d.pipeline.stored_views import read_features, read_skipped
from lift3d.pipeline.surface import read_surface
from lift3d.results.exports.write import export_lifted
from lift3d.results.opened import lifted_scenes
from lift3d.runs.check_store import check_store
from lift3d.runs.driver import run_serially
from lift3d.runs.records import list_runs
from lift3d.runs.status import run_states
from lift3d.runs.table import run_table
from lift3d.storage.audit import audit_product
from lift3d.storage.layout import product_of
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product
from tests.fuzz.tally import Cases, Kind, refused
from tests.support.forged import forge
from tests.support.runs import run_into, tiny_rooms

AGAIN = "a run on a store that was changed"
RECIPE = tiny_rooms(1, lifters=["plane_sweep", "anchored"], metrics=["psnr"])
VALUES = [
    *(None, True, -1, 0, 1, 3, 2**31, 2**62, 10**400, -0.5, 1e308, float("nan")),
    *("", "x", "\x1b[2J", "../..", "/", "\ud800", "9" * 5000),
    *([], {}, [[]], {"": 0}, [1] * 9, [2**40] * 4, [0, 0], [10**6, 10**6]),
]


def small_store(folder: Path) -> Path:
    """Make a store with every kind of product, features, lifted views, a surface, a state, where there is none yet."""
    url = folder / "store"
    if url.is_dir():
        return url
    run_into(str(url), RECIPE)
    arrays = {"a": torch.arange(6.0), "b": torch.arange(6.0), "c": torch.zeros(2, 2, dtype=torch.int64)}
    write_state(open_store(str(url)), "scenes/s/state/rgb/d", SceneState(arrays), RgbOperator().spec)
    return url


def places(content, found=()):
    """Yield where a value may be replaced in JSON, as keys from the root."""
    yield found
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*found, key))


def replaced(content, where, value):
    if not where:
        return value
    changed = dict(content) if isinstance(content, dict) else list(content)
    changed[where[0]] = replaced(content[where[0]], where[1:], value)
    return changed


@st.composite
def mutations(draw, content: bytes):
    """Draw what becomes of an object: a value of its JSON is another, or some of its bytes are."""
    with suppress(ValueError):
        parsed = json.loads(content)
        if draw(st.integers(0, 3)):
            where, value = draw(st.sampled_from([*places(parsed)])), draw(st.sampled_from(VALUES))
            return json.dumps(replaced(parsed, where, value)).encode()
    place = draw(st.integers(0, max(0, len(content) - 1)))
    how = draw(st.sampled_from(["flip", "cut", "fill", "double"]))
    if how == "flip" and content:
        return content[:place] + bytes([content[place] ^ (1 << draw(st.integers(0, 7)))]) + content[place + 1 :]
    if how == "fill":
        return content[:place] + draw(st.binary(max_size=12)) + content[place + 12 :]
    return content[:place] if how == "cut" else content[:place] + content


def readers(made, path, out):
    """Yield what reads a product, or what lies outside products."""
    store = open_store(str(made))
    if path is None:
        yield from (
            lambda: run_states(str(made)),
            lambda: check_store(str(made), checksums=False),
            lambda: lifted_scenes(store),
        )
        yield from (lambda run=run: run_table(store, run) for run in list_runs(store))
        return
    yield lambda: audit_product(store, path, checksums=True)
    _, _, kind, _, leaf, *_ = path.split("/")
    if kind == "features":
        yield lambda: [read_features(open_product(store, path), number) for number in range(3)]
    elif kind == "geometry":
        yield lambda: read_surface(store, path)
    elif kind == "state":
        yield lambda: read_state(store, path)
    else:
        one = next(one for one in lifted_scenes(store) if leaf in (one.lifter, "raw2d"))
        yield lambda: read_skipped(store, path)
        yield from (lambda: [one.plain(target) for target in one.targets], lambda: one.cell_count)
        yield from (one.to_numpy, lambda: [*one.depths()], lambda: export_lifted(one, out / "a.zarr"))


def objects_of(select: Callable[[str | None], bool], use: Callable[[Path, str | None], str]) -> Kind:
    """Return the cases of objects of a store, by what product they are of, if of any: one is changed, then used."""

    def prepare(folder: Path) -> Cases:
        made = small_store(folder)
        of = {path: product_of(path.relative_to(made).as_posix()) for path in sorted(made.rglob("*")) if path.is_file()}
        pool = [path for path, product in of.items() if select(product)]

        @contextmanager
        def case(data: st.DataObject) -> Iterator[Callable[[], str]]:
            path = data.draw(st.sampled_from(pool))
            product = of[path]
            before = {one: one.read_bytes() for one in {path, made / product / "zarr.json" if product else path}}
            try:
                path.write_bytes(data.draw(mutations(before[path])))
                if product and data.draw(st.booleans()):
                    with suppress(ValueError, TypeError, LookupError, AttributeError, OSError):
                        forge(made / product)
                yield lambda: use(made, product)
            finally:
                for one, content in before.items():
                    one.write_bytes(content)

        return case

    return prepare


def read(made: Path, product: str | None) -> str:
    """Read a product, or what lies outside products, by all that reads it."""
    outcome = "read"
    try:
        for one in readers(made, product, made.parent):
            try:
                one()
            except Lift3dError as error:
                outcome = refused(error)
    except Lift3dError as error:
        outcome = refused(error)
    shutil.rmtree(made.parent / "a.zarr", ignore_errors=True)
    return outcome


def run_again(made: Path, product: str | None) -> str:
    """Run what made the store once more: it takes up what is whole, or says what is not."""
    copy = Path(shutil.copytree(made, made.parent / "copy"))
    shutil.rmtree(copy / "runs", ignore_errors=product is not None)
    try:
        (record,) = run_serially(RECIPE, Execution(store=str(copy)))
        return "mended" if record.is_ok else "a reason"
    except Lift3dError as error:
        return refused(error)
    finally:
        shutil.rmtree(copy)


def _kind_of(product: str | None) -> str:
    return product.split("/")[2] if product else "runs"


KINDS: dict[str, Kind] = {
    **{
        f"a store's {kind}": objects_of(lambda product, kind=kind: _kind_of(product) == kind, read)
        for kind in ("features", "geometry", "state", "lifted", "runs")
    },
    AGAIN: objects_of(lambda product: _kind_of(product) != "state", run_again),
}
