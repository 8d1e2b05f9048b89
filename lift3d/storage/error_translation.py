"""Low-level errors to errors of lift3d: what happened in a sentence, and what to do about it. Never a secret."""

from lift3d.errors import (
    ProductMissingError,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnavailableError,
    without_secrets,
)
from lift3d.storage.low_level_errors import Meaning, meaning_of

# By meaning: the class, what happened, and what to do about it.
_MEANINGS: dict[Meaning, tuple[type[StoreError], str, str]] = {
    "busy": (StoreUnavailableError, "the service still asks for fewer requests", "Run fewer workers, or run later"),
    "unreachable": (StoreUnavailableError, "the store does not answer", "Check the endpoint and the network"),
    "credentials": (
        StoreRefusedError,
        "the store does not accept the credentials",
        "Renew the key, its secret and its token in the environment (AWS_ACCESS_KEY_ID, …) or the role",
    ),
    "refused": (
        StoreRefusedError,
        "the store refuses that",
        "Give the user or key the right to read, write, list and delete there, or correct the URL",
    ),
    "no-bucket": (StoreRefusedError, "there is no such bucket or folder", "Create it, or correct the URL"),
    "full": (StoreFullError, "there is no room left", "Free some or raise the quota: what is committed is kept"),
    "unknown": (
        StoreUnavailableError,
        "an error that is not known here",
        "Check the URL, the credentials and the network",
    ),
}
_LONGEST_TEXT = 300


def translated(error: BaseException, location: str, verb: str) -> StoreError:
    """Return what an error of a library means, where something was to be read, written, listed or deleted."""
    meaning = meaning_of(error)
    if meaning == "missing" and verb == "read":
        return ProductMissingError(f"{location} is missing. Compute it first, or check the store's URL.")
    # Whoever writes finds nothing missing but what should hold the object.
    meaning = "no-bucket" if meaning == "missing" else meaning
    kind, what, remedy = _MEANINGS.get(meaning, _MEANINGS["unknown"])
    return kind(f"Cannot {verb} {location}: {what} ({_said(error)}). {remedy}, and run again.")


def _said(error: BaseException) -> str:
    text = without_secrets(f"{type(error).__name__}: {' '.join(str(error).split())}")
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
