"""Options of locations that name no files, ``option=value&…``: fields of a dataclass, with their bounds."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any
from urllib.parse import parse_qsl

from lift3d.errors import ConfigError, UnknownNameError


def parsed_options(cls: type[Any], text: str, kind: str) -> dict[str, int | float]:
    """Return the values that a text gives to fields of a dataclass that have a default; ``kind`` is for messages.

    UnknownNameError of an option, ConfigError of a value that is no number or given twice.
    """
    kinds = {field.name: type(field.default) for field in fields(cls) if field.default is not MISSING}
    options: dict[str, int | float] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name not in kinds:
            raise UnknownNameError.of(f"{kind} option", name, kinds)
        if name in options:
            raise ConfigError(f"{kind.capitalize()} option '{name}' is given twice in '{text}'; give it once.")
        try:
            options[name] = kinds[name](value)
        except ValueError as error:
            raise ConfigError(
                f"{kind.capitalize()} option {name}='{value}' is not a number ({kinds[name].__name__})."
            ) from error
    return options


def require_within(spec: object, ranges: Mapping[str, tuple[int | float, int | float]], kind: str) -> None:
    """Refuse a dataclass a field of which is out of its range: ConfigError."""
    for name, (low, high) in ranges.items():
        value = getattr(spec, name)
        if not low <= value <= high:
            raise ConfigError(f"{kind.capitalize()} option {name}={value} is out of range; expected {low} to {high}.")
