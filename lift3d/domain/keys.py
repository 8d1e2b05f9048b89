"""Names of things and digests of content. Light: imports neither torch nor pandas."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any

ViewId = str
SceneId = str

_SLUG_LENGTH = 64
# What a mapping need not say.
_NOTHING = ("null", "{}", "[]")
# Unicode categories that end a terminal's line, move its cursor, or are no character at all; and what turns the order
# of those that follow, so that a name reads as another.
_UNSHOWABLE = ("Cc", "Cs", "Zl", "Zp")
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says; ValueError if it is none, or nests deeper than Python does."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it nests too deep") from error


def digest(content: Any) -> str:
    """Return a stable 16-digit hexadecimal digest of JSON-like content.

    Equal content gives equal digests in every process and for every order of mapping keys; a mapping entry that is
    None or empty is dropped first, so that a new optional field leaves old digests as they are.
    """
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Written:
    """JSON that is written already: what many digests have in common need be written but once."""

    text: str


def canonical_json(content: Any) -> str:
    """Return JSON-like content as ``digest`` sees it: keys in order, no white space, ASCII."""
    if isinstance(content, Written):
        return content.text
    if isinstance(content, Mapping):
        items = {str(key): value for key, value in content.items()}
        written = {key: canonical_json(items[key]) for key in sorted(items)}
        kept = (f"{json.dumps(key)}:{text}" for key, text in written.items() if text not in _NOTHING)
        return f"{{{','.join(kept)}}}"
    if isinstance(content, list | tuple):
        return f"[{','.join(map(canonical_json, content))}]"
    if isinstance(content, str | int | float | bool) or content is None:
        return json.dumps(content)
    raise TypeError(f"cannot take the digest of {type(content).__name__}")


def digest_bytes(*parts: bytes | mmap) -> str:
    """Return the digest of byte strings, each preceded by its length so that boundaries count."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()[:16]


def encodable(text: str) -> str:
    """Return text that every writer takes: lone surrogates, of file names and foreign messages, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown(text: str) -> str:
    """Return text without characters that a terminal would obey or no file can hold, escaped where it had some."""
    if text.isprintable():
        return text
    return "".join(letter.encode("unicode_escape").decode() if _is_obeyed(letter) else letter for letter in text)


def _is_obeyed(letter: str) -> bool:
    return unicodedata.category(letter) in _UNSHOWABLE or unicodedata.bidirectional(letter) in _TURNING


def slug(name: str) -> str:
    """Return an ASCII name that is safe as one path segment, unique per input.

    A name that has to be changed gets a short hash of the original as suffix, so two names never share a slug.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9._=-]+", "-", plain).strip("-.")[:_SLUG_LENGTH]
    if safe == name and safe:
        return safe
    return f"{safe or 'x'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
