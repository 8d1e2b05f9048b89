"""What an error of a file system, a library or a service means: one word, whoever raised it."""

import errno
import sys
from typing import Literal

Meaning = Literal[
    "missing",  # no such object
    "conflict",  # a create-only write, and the object exists
    "beyond-end",  # a read that begins after the end: services refuse that, disks answer with no bytes
    "busy",  # the service asks for fewer requests
    "unreachable",  # no answer, half an answer, or an error of the service's own; may pass
    "credentials",  # a key that is unknown, wrong or expired
    "refused",  # a right that is missing, or a request that the service never accepts
    "no-bucket",
    "full",
    "unknown",
]

# Codes of S3 and of services that speak it. What is not listed is read from the HTTP status.
_CODES_OF: dict[Meaning, str] = {
    "conflict": "PreconditionFailed",
    "beyond-end": "InvalidRange",
    "busy": "SlowDown ServiceUnavailable TooManyRequests Throttling ThrottlingException RequestLimitExceeded "
    "SlowDownRead SlowDownWrite",
    # The last four say that what arrived is not what was sent, or that two writers met: both pass.
    "unreachable": "InternalError RequestTimeout OperationAborted IncompleteBody BadDigest XAmzContentSHA256Mismatch "
    "ConditionalRequestConflict",
    "credentials": "ExpiredToken InvalidToken TokenRefreshRequired InvalidAccessKeyId SignatureDoesNotMatch "
    "AuthorizationHeaderMalformed",
    "no-bucket": "NoSuchBucket InvalidBucketName",
    "missing": "NoSuchKey",
    # AWS has no quota; these are of Ceph, MinIO and others.
    "full": "QuotaExceeded XMinioStorageFull XMinioAdminBucketQuotaExceeded",
}
_CODES = {code: meaning for meaning, codes in _CODES_OF.items() for code in codes.split()}
_STATUSES: dict[int, Meaning] = {
    **dict.fromkeys((429, 503), "busy"),
    **dict.fromkeys((408, 409, 425), "unreachable"),
    **dict.fromkeys((401, 403), "credentials"),
    404: "missing",
    412: "conflict",
    416: "beyond-end",
    507: "full",
}
_ERRNOS_OF: dict[Meaning, str] = {
    # EFBIG: the limit of a process or of a file system; no retry writes past it.
    "full": "ENOSPC EDQUOT EFBIG",
    "refused": "EACCES EPERM EROFS ENAMETOOLONG ENOTDIR EISDIR",
    "unreachable": "EIO EBUSY EAGAIN ESTALE ENETUNREACH EHOSTUNREACH EREMOTEIO",
}
_ERRNOS = {getattr(errno, name, None): meaning for meaning, names in _ERRNOS_OF.items() for name in names.split()}
# Classes by name: the clients of object stores are optional, and slow to import.
_BOTOCORE_OF: dict[Meaning, str] = {
    "credentials": "NoCredentialsError PartialCredentialsError CredentialRetrievalError TokenRetrievalError",
    "unreachable": "ConnectionError HTTPClientError IncompleteReadError",
    # What is left of these says that the request was never sent: a parameter, a setting.
    "refused": "BotoCoreError",
}
_CLASSES: dict[str, Meaning] = {
    "builtins.FileNotFoundError": "missing",
    "builtins.FileExistsError": "conflict",
    "builtins.ConnectionError": "unreachable",
    "builtins.TimeoutError": "unreachable",
    "aiohttp.client_exceptions.ClientError": "unreachable",
    **{f"botocore.exceptions.{one}": meaning for meaning, names in _BOTOCORE_OF.items() for one in names.split()},
}


def low_level_errors() -> tuple[type[Exception], ...]:
    """Return what file systems and clients raise, for an ``except``; a client that is not loaded has raised nothing."""
    classes: list[type[Exception]] = [OSError]
    if sys.modules.get("botocore"):
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        classes += [BotoCoreError, ClientError]
    if sys.modules.get("aiohttp"):
        from aiohttp import ClientError as HttpError

        classes.append(HttpError)
    return tuple(classes)


def meaning_of(error: BaseException) -> Meaning:
    """Return what an error of the layers below means; what the service itself said counts first."""
    link: BaseException | None = error
    while link is not None:
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return meaning_of_answer(str(response.get("Error", {}).get("Code", "")), int(status))
        link = link.__cause__
    return _meaning_of_class(error)


def meaning_of_answer(code: str, status: int) -> Meaning:
    """Return what an HTTP answer means: the code in its body if it is known, else its status."""
    if code in _CODES:
        return _CODES[code]
    # An answer without a body (to HEAD) has its status in the place of the code.
    status = status or (int(code) if code.isdecimal() else 0)
    if status in _STATUSES:
        # A right that is missing is no matter of which key it is; the code tells where there is one.
        return "refused" if code in ("AccessDenied", "AllAccessDisabled") else _STATUSES[status]
    if status >= 500:
        return "unreachable"
    return "refused" if status >= 400 else "unknown"


def _meaning_of_class(error: BaseException) -> Meaning:
    for kind in type(error).__mro__:
        meaning = _CLASSES.get(f"{kind.__module__}.{kind.__qualname__}")
        if meaning is not None:
            return meaning
    return _ERRNOS.get(error.errno, "unknown") if isinstance(error, OSError) and error.errno else "unknown"
