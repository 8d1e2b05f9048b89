"""Low-level errors to errors of lift3d: what happened in a sentence, and what to do about it. Never a secret."""

import os

from lift3d.errors import ProductMissingError, StoreError, StoreFullError, StoreRefusedError, StoreUnavailableError
from lift3d.storage.low_level_errors import Meaning, meaning_of

_CLASSES: dict[Meaning, type[StoreError]] = {
    "busy": StoreUnavailableError,
    "unreachable": StoreUnavailableError,
    "credentials": StoreRefusedError,
    "refused": StoreRefusedError,
    "no-bucket": StoreRefusedError,
    "full": StoreFullError,
}
_SENTENCES: dict[Meaning, tuple[str, str]] = {
    "busy": ("the service still asks for fewer requests", "Run fewer workers, or run again later"),
    "unreachable": ("the store does not answer", "Check the endpoint and the network, then run again"),
    "credentials": (
        "the store does not accept the credentials",
        "Renew the key, its secret and its token in the environment (AWS_ACCESS_KEY_ID, …) or the role, and run again",
    ),
    "refused": (
        "the store refuses that",
        "Give the user or key the right to read, write, list and delete there, or correct the URL",
    ),
    "no-bucket": ("there is no such bucket", "Create it, or correct the URL"),
    "full": ("there is no room left", "Free some or raise the quota, then run again: what is committed is kept"),
    "unknown": ("an error that is not known here", "Check the URL, the credentials and the network, then run again"),
}
# What the environment holds under these is blotted out, should a service or a library repeat it.
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_LONGEST_TEXT = 300


def translated(error: BaseException, location: str, verb: str) -> StoreError:
    """Return the error of lift3d that says what an error of the layers below means.

    Args:
        error: What the library raised.
        location: URL of the object.
        verb: What was tried: read, write, list or delete.
    """
    meaning = meaning_of(error)
    if meaning == "missing" and verb == "read":
        return ProductMissingError(f"{location} is missing. Compute it first, or check the store's URL.")
    # Whoever writes finds nothing missing but what should hold the object.
    meaning = "no-bucket" if meaning == "missing" else meaning
    what, remedy = _SENTENCES.get(meaning, _SENTENCES["unknown"])
    kind = _CLASSES.get(meaning, StoreUnavailableError)
    return kind(f"Cannot {verb} {location}: {what} ({_said(error)}). {remedy}.")


def _said(error: BaseException) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    for secret in filter(None, map(os.environ.get, _SECRETS)):
        text = text.replace(secret, "***")
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
