"""A worker dies at every step of the protocol; the next one finishes as if nothing had happened."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lift3d
from lift3d.storage import commit as protocol
from lift3d.storage.commit import STEPS, Step, committed
from lift3d.storage.documents import read_document, write_document
from lift3d.storage.location import open_store
from lift3d.storage.products import ArrayTemplate, begin_product, open_product

TEMPLATES = {"x": ArrayTemplate((4, 8), "float32", ("view", "cell"), (1, 8), (2, 8))}
VALUES = np.arange(32, dtype=np.float32).reshape(4, 8)
EXIT_CODE = 17


def run_task(url: str, die_at: str = "") -> None:
    """Do what a worker does: make a product and a document that follows from it, unless they are there."""

    def at_step(step: Step) -> None:
        if step == step_to_die_at:
            os._exit(EXIT_CODE)

    product_step, _, document_step = die_at.partition("+")
    store = open_store(url)
    step_to_die_at = product_step
    if committed(store, "product") is None:
        with begin_product(store, "product", TEMPLATES, {"kind": "test"}, at_step) as writer:
            for start in (0, 2):
                writer.fill("x", (start, 0), VALUES[start : start + 2])
            writer.commit()
    step_to_die_at = document_step
    if committed(store, "rows") is None:
        total = float(open_product(store, "product").array("x").sum())
        write_document(store, "rows", [{"value": total}], at_step)


def outputs(url: str) -> tuple[bytes, object, object]:
    store = open_store(url)
    product = open_product(store, "product")
    return product.array("x").tobytes(), product.attrs, read_document(store, "rows")


@pytest.mark.parametrize("die_at", [*STEPS, *(f"+{step}" for step in STEPS)])
def test_killed_and_run_again_equals_a_clean_run(tmp_path, die_at):
    clean, killed = (open_store(str(tmp_path / name), create=True) for name in ("clean", "killed"))
    run_task(clean.url)

    environment = os.environ | {"PYTHONPATH": str(Path(lift3d.__file__).parents[1])}
    command = [sys.executable, __file__, killed.url, die_at]
    died = subprocess.run(command, env=environment, timeout=60, check=False)
    assert died.returncode == EXIT_CODE

    half_way = "rows" if die_at.startswith("+") else "product"
    is_there = committed(killed, half_way) is not None
    assert is_there == die_at.endswith("marker")
    before = committed(killed, "product")

    run_task(killed.url)
    assert outputs(killed.url) == outputs(clean.url)
    if before is not None:
        assert committed(killed, "product") == before

    for path in ("product", "rows"):
        protocol.verify(killed, path, checksums=True)
        left_over_count = protocol.discard_attempts(killed, path)
        assert left_over_count == int(path == half_way and not is_there and die_at not in ("+begun",))
    tree = {path: len(store.list(path)) for store in (clean,) for path in ("product", "rows")}
    assert {path: len(killed.list(path)) for path in tree} == tree


if __name__ == "__main__":
    run_task(*sys.argv[1:])
