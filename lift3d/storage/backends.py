"""URLs to fsspec filesystems: which schemes are allowed, how each is set up, and what its errors mean."""

import errno
import functools
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
import tenacity
from aiohttp import ClientError as HttpError
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
)

from lift3d.errors import ConfigError

LOW_LEVEL_ERRORS = (OSError, BotoCoreError, ClientError, HttpError)

_SCHEMES = ("file", "memory", "s3", "gs", "az")
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}

# A worker that waits longer than this for a socket had better be retried by its scheduler.
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60

_TRANSIENT_ERRNOS = {
    errno.EIO,
    errno.EBUSY,
    errno.EAGAIN,
    errno.ENETUNREACH,
    getattr(errno, "EREMOTEIO", errno.EIO),
}


def parse_url(url: str) -> str:
    """Return the URL of a store in one canonical form, local paths absolute and without scheme.

    Raises:
        ConfigError: If the scheme is not allowed or installed, or the URL is a chain or holds credentials.
    """
    if "::" in url:
        raise ConfigError("A store URL has one scheme; chained URLs ('::') are refused.")
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _local(url)
    if scheme not in _SCHEMES:
        raise ConfigError(f"Store scheme '{scheme}' is not allowed; use a local path or {', '.join(_SCHEMES)}.")
    if scheme == "file":
        return _local(unquote(rest.removeprefix("localhost")))
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        # The URL itself is not repeated: it may hold the secret, and messages end up in logs.
        raise ConfigError(
            f"A {scheme}:// store URL is {scheme}://BUCKET/PREFIX, without '@', '?' or '#'. "
            f"Credentials and endpoints come from the environment."
        )
    segments = [segment for segment in rest.split("/") if segment]
    if not segments or {".", ".."} & set(segments):
        raise ConfigError(f"A {scheme}:// store URL needs a bucket or name and plain segments, got '{url}'.")
    package = _PACKAGES.get(scheme)
    if package and importlib.util.find_spec(package) is None:
        raise ConfigError(f"{scheme}:// stores need the package {package}; install it or use another store.")
    return f"{scheme}://{'/'.join(segments)}"


def split_url(url: str) -> tuple[str, str]:
    """Return scheme and root path of a canonical URL."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "file", url
    return scheme, f"/{rest}" if scheme == "memory" else rest


def filesystem(scheme: str) -> fsspec.AbstractFileSystem:
    """Return this process' connection for a scheme.

    It is made once per process and environment (a client of S3 takes half a second to set up), never shared with
    a forked process (s3fs must not be) or with other users of fsspec, and remembers no listings.
    """
    is_s3 = scheme == "s3"
    environment = tuple(sorted(item for item in os.environ.items() if is_s3 and item[0].startswith("AWS_")))
    return _connect(scheme, os.getpid(), environment)


def is_conflict(error: BaseException) -> bool:
    """Whether a create-only write failed because the object exists; every service says it in its own way."""
    return any(
        isinstance(link, FileExistsError) or _service_code(link) in ("PreconditionFailed", "412")
        for link in _causes(error)
    )


def is_beyond_end(error: BaseException) -> bool:
    """Whether a read began after the end of an object: services refuse that, disks answer with no bytes."""
    return any(_service_code(link) in ("InvalidRange", "416") for link in _causes(error))


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed a moment later."""
    if isinstance(error, ConnectionError | TimeoutError | HTTPClientError | IncompleteReadError | HttpError):
        return True
    return isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS


retrying = tenacity.retry(
    retry=tenacity.retry_if_exception(is_transient),
    stop=tenacity.stop_after_attempt(4),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=3),
    reraise=True,
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _service_code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


@functools.lru_cache(maxsize=8)
def _connect(scheme: str, pid: int, environment: tuple[tuple[str, str], ...]) -> fsspec.AbstractFileSystem:
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme != "s3":
        return fsspec.filesystem(scheme, **options)
    connection = fsspec.filesystem("s3", **options, **_s3_options(dict(environment)))
    connection.retries = 1  # ``retrying`` is the only retry policy; nested ones multiply
    return connection


def _local(path: str) -> str:
    absolute = os.path.abspath(Path(path).expanduser()) if path else "/"
    if absolute == "/":
        raise ConfigError(f"A store needs a folder of its own, got '{path}'.")
    return absolute


def _s3_options(environment: Mapping[str, str]) -> dict[str, Any]:
    # Credentials and region are found by botocore itself, in the environment or from the machine's role.
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    config: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _READ_TIMEOUT_S,
        "retries": {"total_max_attempts": 1},
    }
    if endpoint:
        # S3-compatible services: bucket names in the path, and no trailing checksums, which many do not know.
        config["s3"] = {"addressing_style": "path"}
        config["request_checksum_calculation"] = "when_required"
        config["response_checksum_validation"] = "when_required"
    return {"endpoint_url": endpoint or None, "config_kwargs": config}
