"""What a worker runs instead of the line: scenes whose location says what happens. Importable by Ray workers."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from lift3d.config import Execution, Recipe
from lift3d.domain.records import SceneRecord
from lift3d.errors import ContractError, ProductMissingError, StoreUnavailableError, UnknownNameError
from lift3d.pipeline.inputs import Report
from lift3d.storage.location import Store


def workers_of(store: Store, location: str) -> list[str]:
    return [path.name.rsplit("-", 1)[1] for path in _folder(store).glob(f"{location.replace(':', '_')}-try-*")]


def tries_of(store: Store, location: str) -> int:
    return len(workers_of(store, location))


def prepare_fakes(recipe: Recipe, execution: Execution, store: Store) -> Any:
    """Build what runs a fake scene: ``ok:…``, ``sleep:…``, ``killed:…`` and so on."""
    _folder(store).mkdir(parents=True, exist_ok=True)

    def attempt(location: str, report: Report) -> SceneRecord:
        tries = tries_of(store, location) + 1
        (_folder(store) / f"{location.replace(':', '_')}-try-{tries}-{os.getpid()}").touch()
        report("fake", 1, 2)
        _BEHAVIOURS[location.split(":")[0]](tries)
        return SceneRecord(location, location, "ok", computed={"worker": os.getpid()})

    return attempt


def prepare_nothing(recipe: Recipe, execution: Execution, store: Store) -> Any:
    error = UnknownNameError.of("operator", recipe.operators[0], ["rgb"])
    error.operator = recipe.operators[0]
    raise error


def _unavailable_once(tries: int) -> None:
    if tries == 1:
        raise StoreUnavailableError("the store does not answer")


def _raise(error: Exception) -> Any:
    def behave(tries: int) -> None:
        raise error

    return behave


_BEHAVIOURS: dict[str, Any] = {
    "ok": lambda tries: time.sleep(0.05),
    "sleep": lambda tries: time.sleep(600),
    "slow": lambda tries: time.sleep(2.5),
    "killed": lambda tries: os.kill(os.getpid(), signal.SIGKILL),
    "unavailable-once": _unavailable_once,
    "missing": _raise(ProductMissingError("upstream did not finish")),
    "memory": _raise(MemoryError("out of memory")),
    "defect": _raise(ContractError("Operator 'own' gives NaN for view 'v7'.")),
    "device": _raise(RuntimeError("CUDA error: an illegal memory access was encountered")),
}


def _folder(store: Store) -> Path:
    return Path(store.url.removeprefix("file://")) / "fakes"
