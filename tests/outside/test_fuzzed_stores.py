"""Any object of a store, mutated and signed again or not: only our own errors come out, soon and in little memory."""

import json
import resource
import shutil
import time
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lift3d.config import Execution
from lift3d.domain.features import SceneState
from lift3d.errors import Lift3dError
from lift3d.operators.rgb import RgbOperator
from lift3d.pipeline.fit import read_state, write_state
from lift3d.pipeline.stored_views import read_features, read_skipped
from lift3d.pipeline.surface import read_surface
from lift3d.results.exports.write import export_lifted
from lift3d.results.lifted_scene import lifted_scenes
from lift3d.runs.check_store import check_store
from lift3d.runs.driver import run_serially
from lift3d.runs.records import list_runs
from lift3d.runs.status import run_states
from lift3d.runs.table import run_table
from lift3d.storage.audit import audit_product
from lift3d.storage.layout import product_of
from lift3d.storage.location import open_store
from lift3d.storage.products import open_product
from tests.support.forged import forge
from tests.support.runs import run_into, tiny_rooms

KIND = "6 small input, huge memory"
CASE = "any object of a store, mutated, signed again or not"
RIGHT = "only our own errors, in less than 1 GiB and 10 s"
RECIPE = tiny_rooms(1, lifters=["plane_sweep", "anchored"], metrics=["psnr"])
VALUES = [
    *(None, True, -1, 0, 1, 3, 2**31, 2**62, 10**400, -0.5, 1e308, float("nan")),
    *("", "x", "\x1b[2J", "../..", "/", "\ud800", "9" * 5000),
    *([], {}, [[]], {"": 0}, [1] * 9, [2**40] * 4, [0, 0], [10**6, 10**6]),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with every kind of product: features, lifted views, a surface, a state."""
    url = tmp_path_factory.mktemp("fuzzed") / "store"
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


def check(made, data, act):
    """Mutate one object, act on its product, and put it back; within time and memory."""
    path = data.draw(st.sampled_from(sorted(path for path in made.rglob("*") if path.is_file())))
    product = product_of(path.relative_to(made).as_posix())
    before = {one: one.read_bytes() for one in {path, made / product / "zarr.json" if product else path}}
    try:
        path.write_bytes(data.draw(mutations(before[path])))
        if product and data.draw(st.booleans()):
            with suppress(ValueError, TypeError, LookupError, AttributeError, OSError):
                forge(made / product)
        begun, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        act(product)
        assert time.process_time() - begun < 10
        assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) < 2**30
    finally:
        for one, content in before.items():
            one.write_bytes(content)


def check_read(made, folder, data):
    def read(product):
        with suppress(Lift3dError):
            for one in readers(made, product, folder):
                with suppress(Lift3dError):
                    one()
        shutil.rmtree(folder / "a.zarr", ignore_errors=True)

    check(made, data, read)


@pytest.mark.outside(kind=KIND, case=CASE, right=RIGHT)
@settings(max_examples=20)
@given(data=st.data())
def test_a_mutated_store_is_read_or_refused(made, data):
    check_read(made, made.parent, data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.outside(kind=KIND, case=CASE, right=RIGHT)
@settings(max_examples=5000, derandomize=False)
@given(data=st.data())
def test_many_mutated_stores_are_read_or_refused(made, data):
    check_read(made, made.parent, data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.outside(kind=KIND, case=f"{CASE}, and the same run again", right="the scene is done, or has a reason")
@settings(max_examples=200, derandomize=False)
@given(data=st.data())
def test_a_run_on_a_mutated_store_ends(made, data):
    def run(product):
        copy = shutil.copytree(made, made.parent / "copy")
        shutil.rmtree(copy / "runs", ignore_errors=product is not None)
        with suppress(Lift3dError):
            run_serially(RECIPE, Execution(store=str(copy)))
        shutil.rmtree(copy)

    check(made, data, run)
