"""How an operator is written: ``kind[:argument][?key=value&key=value]``. Light: no torch."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, unquote

from lift3d.errors import ConfigError, UnknownNameError

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
        """Take a name apart, such as ``timm:NAME?weights=random``; in values, %XX is a character's code.

        ConfigError if the kind is not a name, or an option is not a unique key=value.
        """
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

    def integer(self, key: str, default: int) -> int:
        """Return an option's value as a whole number; ConfigError if it is none."""
        value = self.option(key, str(default))
        try:
            return int(value)
        except ValueError:
            raise ConfigError(f"Option '{key}' of operator '{self}' must be a whole number, got '{value}'.") from None

    def height(self) -> int:
        """Return the height that images are resized to first (option height, positive); 0 for their own."""
        height = self.integer("height", 0)
        if height < 0 or (height == 0 and self.option("height", "")):
            raise ConfigError(f"Option 'height' of operator '{self}' must be positive, got {height}.")
        return height

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
