"""Weights of the Hugging Face hub: where it answers they are downloaded, else its cache is asked, and nothing waits."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

# The hub's client asks each file's address again for most of a minute; a hub that is there is reached at once.
_PATIENCE_S = 3.0


@contextmanager
def hub_or_cache(is_asked: bool) -> Iterator[None]:
    """Load weights in the block; if the hub is asked for them and cannot be reached, from its cache alone.

    ConnectionError, which says why it cannot, if the cache lacks them. Downloads of a hub that answers are its
    client's, which resumes them.
    """
    hub = importlib.import_module("huggingface_hub")
    silence = _silence(hub) if is_asked and not hub.constants.HF_HUB_OFFLINE else None
    if silence is None:
        yield
        return
    hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    except Exception as error:
        if not _is_of_hub(error):
            raise
        where = hub.constants.ENDPOINT
        raise ConnectionError(f"{where} does not answer ({silence}), and its cache here lacks the files.") from error
    finally:
        hub.constants.HF_HUB_OFFLINE = False


def _is_of_hub(error: BaseException | None) -> bool:
    """Whether the hub's client began what a library made an error of its own of."""
    while error is not None and not type(error).__module__.startswith("huggingface_hub."):
        error = error.__cause__ or error.__context__
    return error is not None


def _silence(hub: object) -> str | None:
    """Return why the hub cannot be reached; None if it can, whatever it says, and however slowly."""
    try:
        hub.get_session().head(hub.constants.ENDPOINT, timeout=_PATIENCE_S)  # type: ignore[attr-defined]
    except Exception as error:  # Its client's transport is one of three, each with a dozen classes.
        # Who was reached and thinks longer is left to the client, which is more patient.
        is_slow = type(error).__name__ == "ReadTimeout"
        return None if is_slow else " ".join(f"{type(error).__name__}: {error}".split())
    return None
