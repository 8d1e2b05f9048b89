"""Pages of HTML, everything inlined, every name escaped: one style and one script for all of them."""

import base64
import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from lift3d.errors import ConfigError
from lift3d.storage.whole_file import whole

_VERSIONS_OF = ("lift3d", "torch", "numpy", "zarr", "pandas")
_FOLDER = files("lift3d.report")


def page(template: str, content: Mapping[str, Any]) -> bytes:
    """Return a page as HTML; the content is what the template shows, ``title`` among it.

    A policy in its head allows its own style and script by their digests and pictures that are part of it, nothing
    else: what is in a name can neither run nor call home.
    """
    style, script = (_text(f"report.{kind}") for kind in ("css", "js"))
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'"
    )
    # Both are files of this package, and their digests are of exactly these characters.
    own = {"style": Markup(style), "script": Markup(script), "policy": policy, "versions": _versions()}
    text = _environment().get_template(template).render(content, **own)
    # A name that came from a file system may hold what is no character.
    return text.encode("utf-8", "replace")


def write_page(place: Path, content: bytes) -> None:
    """Write a file whole; ConfigError if it cannot be written."""
    try:
        with whole(place) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"Cannot write '{place}': {error}. Name a file in a folder you may write to.") from error


@cache
def _environment() -> Environment:
    loader = FunctionLoader(lambda name: _text(f"templates/{name}"))
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


@cache
def _versions() -> dict[str, str]:
    """Return versions of what wrote the page."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _VERSIONS_OF}}


def _text(name: str) -> str:
    return _FOLDER.joinpath(*name.split("/")).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
