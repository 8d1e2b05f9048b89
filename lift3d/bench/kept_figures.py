"""Figures that benches keep in the store they measure into: a page has all of them, whichever run measured which."""

import json
from collections.abc import Sequence
from dataclasses import Field, asdict
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from pydantic import TypeAdapter

from lift3d.domain.keys import digest
from lift3d.errors import ConfigError
from lift3d.storage.location import Store, open_store

Row = TypeVar("Row")


@runtime_checkable
class Dataclass(Protocol):
    """Any row that is a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def keep(store: Store, bench: str, key: Sequence[str | int], row: Dataclass) -> None:
    """Write a row, in place of one with the same key."""
    store.write_bytes(f"{_folder(bench)}/{digest([*key])}.json", json.dumps(asdict(row)).encode())


def kept(store: str, bench: str, kind: type[Row]) -> list[Row]:
    """Return all rows of a bench that a store keeps; ConfigError if there are none."""
    opened, parsed = open_store(store), TypeAdapter(kind)
    paths = opened.list(_folder(bench))
    if not paths:
        raise ConfigError(f"Nothing was measured into '{store}' yet. Name scenes and operators.")
    return [parsed.validate_python(json.loads(opened.read_bytes(path))) for path in paths]


def _folder(bench: str) -> str:
    return f"bench/{bench}"
