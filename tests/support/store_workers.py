"""A worker that makes a product and another from it, may be made to die or sleep at any step, and what must hold."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

import lift3d
from lift3d.storage import commit as protocol
from lift3d.storage.audit import AuditedProduct, audit_folder, folders
from lift3d.storage.commit import Commit, Step, StepHook, committed, ignore_step
from lift3d.storage.garbage import Garbage, collect, garbage_in, store_time
from lift3d.storage.layout import README_FILE, STORE_FILE, group_path
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import ProductWriter, open_product, write_product

VALUES = np.arange(32, dtype=np.float32).reshape(4, 8)
PRODUCT, ROWS = "scenes/room/lifted/rgb/near/leaf", "scenes/room/state/rows/rows"
EXIT_CODE = 17
HOUR_S = 3600.0


class Killed(BaseException):
    """What is raised where a worker would die; from then on it can do nothing, not even tidy up."""


def run_task(url: str, stop_at: str = "", how: str = "die", factor: float = 1.0) -> None:
    """Do what a worker does: a product of arrays and one of attributes that follows from it, unless they are there.

    It stops at a step of the product's commit, or "+" and one of the second's: ``how`` is die or sleep. ``factor``
    times the values tell one worker's product from another's.
    """

    def at_step(step: Step) -> None:
        if step == awaited and not stopped:
            stopped.append(step)
            if how == "die":
                os._exit(EXIT_CODE)
            os.kill(os.getpid(), signal.SIGSTOP)

    stopped: list[Step] = []
    product_step, _, second_step = stop_at.partition("+")
    store = open_store(url)
    awaited = product_step
    if committed(store, PRODUCT) is None:
        writer = ProductWriter(store, PRODUCT, at_step)
        for number in (0, 1):
            if writer.part(number) is None:
                values = VALUES[2 * number : 2 * number + 2] * np.float32(factor)
                writer.write_part(number, {"x": (("view", "cell"), values)}, 4, 2)
        writer.commit({}, {"kind": "test"}, 2)
    awaited = second_step
    if committed(store, ROWS) is None:
        total = float(open_product(store, PRODUCT).array("x").sum())
        write_product(store, ROWS, {}, {"value": total}, at_step)


def write(store: Store, path: str = PRODUCT, value: float = 1, at_step: StepHook = ignore_step) -> Commit:
    return write_product(store, path, {"x": (("i",), np.full(4, value, np.float32))}, {}, at_step)


def read(store: Store, path: str = PRODUCT) -> float:
    return float(open_product(store, path).array("x")[0])


def start_worker(url: str, *arguments: str) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": str(Path(lift3d.__file__).parents[1])}
    return subprocess.Popen([sys.executable, __file__, url, *arguments], env=environment)


def outputs(store: Store) -> tuple[bytes, object, object]:
    product = open_product(store, PRODUCT)
    return product.array("x").tobytes(), dict(product.attrs), dict(open_product(store, ROWS).attrs)


def audited(store: Store) -> list[AuditedProduct]:
    return [product for folder in folders(store) for product in audit_folder(store, folder, checksums=True)]


def swept(store: Store, older_than_s: float = -HOUR_S) -> list[Garbage]:
    """Delete the garbage, that of the next hour included if no age is given, and return it."""
    before = store_time(store) - older_than_s
    found = [garbage for folder in folders(store) for garbage in garbage_in(store, folder, before)]
    return [garbage for garbage in found if collect(store, garbage)]


def all_keys(store: Store) -> set[str]:
    return {key for name in store.names() for key in store.entries(name)}


def check_tidy(store: Store) -> None:
    """See that nothing is there but what group files list and what lies in the root."""
    needed = {STORE_FILE, README_FILE}
    for product in audited(store):
        commit = committed(store, product.path)
        if commit is not None:
            needed |= {group_path(product.path), *(f"{product.path}/{key}" for key in commit.manifest.entries)}
    assert all_keys(store) == needed


def age(store: Store, hours: float, folder: str = "") -> None:
    """Set back the time at which the objects of a local store, or those below a folder, were written."""
    for path in Path(store.url, folder).rglob("*"):
        moved = path.stat().st_mtime - hours * HOUR_S
        os.utime(path, (moved, moved))


if __name__ == "__main__":
    url, stop_at, how, factor = sys.argv[1:]
    # Who sleeps in a test sleeps for days.
    protocol.SURE_S = protocol.SURE_S if how != "sleep" else -1.0
    run_task(url, stop_at, how, float(factor))
