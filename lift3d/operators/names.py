"""How an operator is written: ``kind[:argument][?key=value&key=value]``. Light: no torch."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast
from urllib.parse import quote, unquote

from lift3d.errors import ConfigError, UnknownNameError

_Numbers = TypeVar("_Numbers", bound=tuple[int | float, ...])
_Word = TypeVar("_Word", bound=str)
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
# What may stand unescaped in an option's value besides letters, digits and "_.-~".
_PLAIN_IN_VALUES = "/:,@\\ "


@dataclass(frozen=True, slots=True)
class OperatorName:
    """An operator's name, taken apart: the adapter, what that is given (such as a network), and unique options."""

    kind: str
    argument: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "OperatorName":
        """Take a name apart; in values, %XX is a character's code. ConfigError if it is not of this form."""
        head, question, query = text.strip().partition("?")
        kind, colon, argument = head.partition(":")
        is_cut_short = bool((colon and not argument) or (question and not query))
        if not _KIND.fullmatch(kind) or is_cut_short:
            raise ConfigError(
                f"'{text}' is not an operator's name; expected kind[:argument][?key=value&…], e.g. 'rgb' or "
                "'timm:vit_small_patch14_dinov2?weights=random'."
            )
        options = tuple(_parse_option(text, part) for part in query.split("&")) if query else ()
        if len(dict(options)) < len(options):
            raise ConfigError(f"Operator '{text}' gives an option twice; give each option once.")
        return cls(kind, argument, options)

    def __str__(self) -> str:
        head = f"{self.kind}:{self.argument}" if self.argument else self.kind
        query = "&".join(f"{key}={quote(value, safe=_PLAIN_IN_VALUES)}" for key, value in self.options)
        return f"{head}?{query}" if query else head

    def option(self, key: str, default: str) -> str:
        """Return an option's value, or the default where it is not given."""
        return dict(self.options).get(key, default)

    def choice(self, key: str, known: Sequence[_Word]) -> _Word:
        """Return an option's value, one of a few and the first by default; UnknownNameError for another."""
        value = self.option(key, known[0])
        for one in known:
            if one == value:
                return one
        raise UnknownNameError.of(f"{key} of {self.kind}", value, known)

    def integer(self, key: str, default: int, least: int | None = None) -> int:
        """Return an option's value as a whole number; ConfigError if it is none, or less than the least."""
        (value,) = self.numbers(key, (default,))
        if least is not None and value < least and self.option(key, ""):
            raise ConfigError(f"Option '{key}' of operator '{self}' must be at least {least}, got {value}.")
        return value

    def numbers(self, key: str, default: _Numbers) -> _Numbers:
        """Return an option's numbers, with commas between: as many as the default has, of its types, or ConfigError."""
        kinds, text = [type(one) for one in default], self.option(key, "")
        if not text:
            return default
        try:
            return cast(_Numbers, tuple(kind(part) for kind, part in zip(kinds, text.split(","), strict=True)))
        except ValueError:
            number = "whole number" if int in kinds else "number"
            expected = f"a {number}" if len(kinds) == 1 else f"{len(kinds)} {number}s with commas between"
            raise ConfigError(f"Option '{key}' of operator '{self}' takes {expected}, got '{text}'.") from None

    def listed(self, key: str) -> tuple[str, ...]:
        """Return the words of an option, with commas between; none where it is not given."""
        return tuple(part.strip() for part in self.option(key, "").split(",") if part.strip())

    def check(self, known_options: Collection[str], argument: str = "") -> None:
        """Refuse, by ConfigError, options that the adapter does not know, and a missing or superfluous argument.

        ``argument`` says what the argument means, e.g. "a timm network"; it is empty if the adapter takes none.
        """
        if bool(argument) != bool(self.argument):
            expected = f"'{self.kind}:…' with {argument}" if argument else f"plain '{self.kind}'"
            raise ConfigError(f"Operator '{self}' is not complete or says too much; expected {expected}.")
        for key, _ in self.options:
            if key not in known_options:
                raise UnknownNameError.of(f"option of {self.kind}", key, known_options or ("none",))


def _parse_option(text: str, part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not key or not equals or not value:
        raise ConfigError(f"Option '{part}' of operator '{text}' is not of the form key=value.")
    return unquote(key), unquote(value)
