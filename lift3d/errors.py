"""Every error of lift3d. The class tells a scheduler what to do with the item that failed: abort, skip or retry.

Ids (scene, view, operator) are optional attributes, so that every class survives pickling.
"""

import difflib
import os
import re
import reprlib
from collections.abc import Iterable
from typing import ClassVar, Literal

Disposition = Literal["abort", "skip", "retry"]

# Messages end up in records, tables and logs; what the environment holds under these is blotted out of them, should
# a library, a service or an operator repeat it. Shorter values are no secrets, and would blot out words.
_SECRETS = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "HF_TOKEN"),
    *("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"),
)
_SHORTEST_SECRET = 8
# What a URL may hold of them: USER:PASSWORD@, the key of a signed one.
_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#'\"@]*(?::[^\s'\"@]*)?@")
_KEYS = re.compile(
    r"(?i)([?&](?:[\w-]*(?:token|secret|passw|signature|credential|access_?key|api_?key)[\w-]*|sig)=)[^&\s'\"]+"
)
# A catalog of more names than these is not shown whole.
_MOST_NAMED = 100
# Messages are read by people and stored with every scene; what a file gives may be of any length.
_LONGEST_MESSAGE = 4000
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 3, 60, 60


class Lift3dError(Exception):
    """Root of the tree. The message says what happened, what was got, what was expected, and the remedy."""

    disposition: ClassVar[Disposition] = "abort"
    reason: ClassVar[str] = "error"

    def __init__(
        self,
        message: str = "",
        *,
        scene: str | None = None,
        view: str | None = None,
        operator: str | None = None,
    ) -> None:
        super().__init__(without_secrets(message)[:_LONGEST_MESSAGE])
        self.scene = scene
        self.view = view
        self.operator = operator


def without_secrets(text: str) -> str:
    """Return a text without the secrets that the environment holds, and without those of the URLs in it."""
    for secret in filter(None, map(os.environ.get, _SECRETS)):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return _KEYS.sub(r"\1***", _CREDENTIALS.sub("***@", text))


def has_secrets(url: str) -> bool:
    """Whether a URL holds credentials, which belong into the environment: what names it is written down and shown."""
    return bool(_CREDENTIALS.search(url) or _KEYS.search(url))


def brief(value: object) -> str:
    """Return what to show of a value that was given: its repr, short however large it is."""
    return _BRIEF.repr(value)


class ConfigError(Lift3dError):
    """Abort: the request is wrong; nothing has been computed."""

    reason = "config"


class UnknownNameError(ConfigError):
    """A name that no catalog knows; names the choices and the closest match."""

    reason = "unknown-name"

    @classmethod
    def of(cls, kind: str, name: str, choices: Iterable[str]) -> "UnknownNameError":
        """Say which names exist, of very many the nearest, and which one is closest to what was asked for."""
        known = sorted(choices)
        folded = {one.casefold(): one for one in known}
        wanted, cutoff = name.casefold(), 0.4 if len(known) > _MOST_NAMED else 0.6
        near = difflib.get_close_matches(wanted, folded, n=8, cutoff=cutoff)
        # Long names are shortened to how they begin.
        near = near or [one for one in folded if wanted and one.startswith(wanted)][:8]
        close = [folded[one] for one in near]
        hint = f" Did you mean '{close[0]}'?" if close else ""
        is_told = len(known) <= _MOST_NAMED or not close
        names = f"Known: {', '.join(known)}" if is_told else f"The nearest of {len(known)}: {', '.join(close)}"
        return cls(f"Unknown {kind} '{name}'.{hint} {names}.")


class MissingExtraError(ConfigError):
    """An optional package is not installed; names the extra to install."""

    reason = "missing-extra"


class ResourcePromiseError(ConfigError):
    """The plan needs more than it is allowed."""

    reason = "resources"


class ContractError(Lift3dError):
    """Skip: an Operator, Lifter or Metric broke its promise; the scene fails, and the run if all fail alike."""

    disposition = "skip"
    reason = "contract"


class ShapeError(ContractError):
    """Array shapes that do not fit together."""

    reason = "shape"


class NonFiniteError(ContractError):
    """NaN or infinity where only finite values may stand."""

    reason = "non-finite"


class SceneError(Lift3dError):
    """Skip: this scene or view is unusable; a row says so and the others go on."""

    disposition = "skip"
    reason = "scene"


class SceneFormatError(SceneError):
    """A missing or malformed file of a scene."""

    reason = "scene-format"


class CameraError(SceneError):
    """Intrinsics or a transform that cannot belong to a camera."""

    reason = "camera"


class ImageError(SceneError):
    """An image that is missing, does not decode, or is too large to decode safely."""

    reason = "image"


class NoOverlapError(SceneError):
    """No source view sees what the target sees: nothing to do, which is counted and not alarming."""

    reason = "no-overlap"


class BreakerError(Lift3dError):
    """Abort: so many scenes failed in the same way that the rest was not begun."""

    reason = "breaker"


class StoreError(Lift3dError):
    """Abort: something about the object store."""

    reason = "store"


class StoreUnavailableError(StoreError):
    """Retry with back-off: the store does not answer."""

    disposition = "retry"
    reason = "store-unavailable"


class StoreRefusedError(StoreError):
    """The store answers and refuses: no such bucket, a wrong or expired key, a missing right."""

    reason = "store-refused"


class StoreFullError(StoreError):
    """The disk or the quota of the store is used up."""

    reason = "store-full"


class DamagedProductError(StoreError):
    """Skip: an object of a committed product is missing or is not what was committed; never passed on."""

    disposition = "skip"
    reason = "damaged"

    def __init__(self, message: str = "", *, product: str | None = None, **ids: str | None) -> None:
        super().__init__(message, **ids)
        self.product = product


class StoreLayoutError(StoreError):
    """Another version's layout, or a write that is not aligned with its chunks."""

    reason = "store-layout"


class ProductMissingError(StoreError):
    """Skip: a product that has no valid commit marker, since upstream did not finish; names the key."""

    disposition = "skip"
    reason = "product-missing"


class WorkerError(Lift3dError):
    """Retry: a worker could not finish for reasons outside the scene."""

    disposition = "retry"
    reason = "worker"


class OutOfMemoryError(WorkerError):
    """Retry on a fresh worker, once: the device or the host has no memory left."""

    reason = "out-of-memory"


class WorkerLostError(WorkerError):
    """The worker's process or node is gone."""

    reason = "worker-lost"


class PreemptedError(WorkerError):
    """The worker's machine was taken away or drained; says nothing about the scene, and uses up no attempt."""

    reason = "preempted"
