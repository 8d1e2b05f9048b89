"""URLs to connections: which schemes are allowed, which library serves each, and with what settings."""

import functools
import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import fsspec

from lift3d.errors import ConfigError, MissingExtraError
from lift3d.extras import install
from lift3d.storage.low_level_errors import low_level_errors, meaning_of
from lift3d.storage.objects import LocalFiles, MemoryObjects, Objects
from lift3d.storage.retry_policy import MOST_AT_ONCE, RetryPolicy, Timeouts

T = TypeVar("T")

TIMEOUTS = Timeouts()

_SCHEMES = ("file", "memory", "s3")


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """What this process talks to a store through, and how it is asked again."""

    objects: Objects
    retry_policy: RetryPolicy


def parse_url(url: str) -> str:
    """Return the URL of a store in one canonical form, local paths absolute and without scheme.

    ConfigError if the scheme is not allowed or installed, or the URL is a chain or holds credentials.
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
    if scheme == "s3" and importlib.util.find_spec("s3fs") is None:
        raise MissingExtraError(
            f"An s3:// store needs the package s3fs, which is not installed. Install it with: {install('cluster')}."
        )
    return f"{scheme}://{'/'.join(segments)}"


def split_url(url: str) -> tuple[str, str]:
    """Return scheme and root path of a canonical URL."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "file", url
    return scheme, f"/{rest}" if scheme == "memory" else rest


def connection(scheme: str) -> Connection:
    """Return this process' connection for a scheme.

    It is made once per process and environment (a client of S3 takes half a second to set up), never shared with
    a forked process (s3fs must not be) or with other users of fsspec, and remembers no listings.
    """
    environment: tuple[tuple[str, str], ...] = ()
    if scheme == "s3":
        environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    return _connect(scheme, os.getpid(), environment, TIMEOUTS)


def perform(scheme: str, call: Callable[[Objects], T]) -> T:
    """Run a call against the store until it succeeds or fails for good.

    An answer that refuses the key is taken for final only after a new connection got it too: keys of a role or a
    file may have been renewed since the first one was made.
    """
    used = connection(scheme)
    try:
        return used.retry_policy.run(lambda: call(used.objects))
    except low_level_errors() as error:
        if scheme != "s3" or meaning_of(error) not in ("credentials", "refused"):
            raise
    if connection(scheme) is used:  # else another thread has renewed it, or the environment has changed
        _connect.cache_clear()
    renewed = connection(scheme)
    return renewed.retry_policy.run(lambda: call(renewed.objects))


@functools.lru_cache(maxsize=8)
def _connect(scheme: str, pid: int, environment: tuple[tuple[str, str], ...], timeouts: Timeouts) -> Connection:
    return Connection(_objects(scheme, dict(environment), timeouts), RetryPolicy(timeouts))


def _objects(scheme: str, environment: Mapping[str, str], timeouts: Timeouts) -> Objects:
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme == "s3":
        files = fsspec.filesystem("s3", **options, **_s3_options(environment, timeouts))
        files.retries = 1  # ``RetryPolicy`` is the only retry policy
        return Objects(files, timeouts)
    kind = LocalFiles if scheme == "file" else MemoryObjects
    return kind(fsspec.filesystem(scheme, **options), timeouts)


def _local(path: str) -> str:
    absolute = os.path.abspath(Path(path).expanduser()) if path else "/"
    if absolute == "/":
        raise ConfigError(f"A store needs a folder of its own, got '{path}'.")
    return absolute


def _s3_options(environment: Mapping[str, str], timeouts: Timeouts) -> dict[str, Any]:
    # Credentials and region are found by botocore itself, in the environment or from the machine's role.
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    config: dict[str, Any] = {
        "connect_timeout": timeouts.connect_s,
        "read_timeout": timeouts.silence_s,
        "max_pool_connections": MOST_AT_ONCE,
        "retries": {"total_max_attempts": 1},
    }
    if endpoint:
        # S3-compatible services: bucket names in the path, and no trailing checksums, which many do not know.
        config["s3"] = {"addressing_style": "path"}
        config["request_checksum_calculation"] = "when_required"
        config["response_checksum_validation"] = "when_required"
    return {"endpoint_url": endpoint or None, "config_kwargs": config}
