"""The page itself: one file, everything inlined, nothing fetched, every name escaped.

A policy in the page's head allows its own style and script by their digests and pictures that are part of it, nothing
else: what is in a name can neither run nor call home.
"""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

_FOLDER = files("lift3d.report")


def page(content: Mapping[str, Any]) -> bytes:
    """Return the page as HTML; the content is what the template shows, by name."""
    style, script = (_FOLDER.joinpath(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'"
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_FOLDER.joinpath("templates", "report.html.jinja").read_text(encoding="utf-8"))
    # Both are files of this package, and their digests are of exactly these characters.
    text = template.render(content, style=Markup(style), script=Markup(script), policy=policy)
    # A name that came from a file system may hold what is no character.
    return text.encode("utf-8", "replace")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
