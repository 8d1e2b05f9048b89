"""S3 through obstore: the same objects, errors and environment as through s3fs, with less work per request.

Reads and writes run outside Python's lock. Credentials are found by botocore, as s3fs does: in the environment,
in the files of AWS, or from the machine's role.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session  # type: ignore[import-untyped]
import obstore
from botocore.exceptions import NoCredentialsError  # type: ignore[import-untyped]
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from lift3d.storage.low_level_errors import ServiceError, meaning_of_answer
from lift3d.storage.objects import ObjectInfo
from lift3d.storage.retry_policy import Timeouts

# botocore refreshes temporary keys by itself some minutes before they end; it is asked again this often.
_CREDENTIALS_LIVE = timedelta(minutes=5)
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
# Above this an object is sent in parts, as s3fs does: parts that are never joined stay in the bucket, unseen.
_ONE_REQUEST_BYTES, _PART_BYTES = 100 * 2**20, 50 * 2**20


class ObstoreObjects:
    """Objects of S3 and of services that speak it; paths are BUCKET/KEY."""

    def __init__(self, environment: Mapping[str, str], timeouts: Timeouts) -> None:
        self._environment = environment
        self._timeouts = timeouts
        self._session = botocore.session.get_session()
        self._credentials = self._session.get_credentials()
        if self._credentials is None:
            raise NoCredentialsError
        self._buckets: dict[str, Any] = {}

    def read(self, path: str, start: int | None, end: int | None) -> bytes:
        """Return an object or a part of it, by one request."""
        bucket, key = self._split(path)
        with _said_plainly():
            if end is not None:
                return bytes(obstore.get_range(bucket, key, start=start or 0, end=end))
            options = {"range": {"offset": start}} if start else None
            return bytes(obstore.get(bucket, key, options=options).bytes())

    def write(self, path: str, content: bytes | memoryview) -> None:
        """Write an object."""
        bucket, key = self._split(path)
        with _said_plainly():
            obstore.put(bucket, key, content, use_multipart=len(content) >= _ONE_REQUEST_BYTES, chunk_size=_PART_BYTES)

    def create(self, path: str, content: bytes | memoryview) -> None:
        """Write an object if there is none."""
        bucket, key = self._split(path)
        with _said_plainly():
            # In parts, the condition would be one of the last request, which not every service knows.
            obstore.put(bucket, key, content, mode="create", use_multipart=False)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the objects below a folder."""
        bucket, key = self._split(folder)
        name = folder[: len(folder) - len(key)]
        with _said_plainly():
            found = [entry for batch in obstore.list(bucket, key) for entry in batch]
        return {f"{name}{entry['path']}": int(entry["size"]) for entry in found}

    def entries(self, path: str) -> dict[str, ObjectInfo]:
        """Return an object, or all below a folder, with size and age."""
        bucket, key = self._split(path)
        name = path[: len(path) - len(key)]
        with _said_plainly():
            found = [entry for batch in obstore.list(bucket, key) for entry in batch] or [obstore.head(bucket, key)]
        return {
            f"{name}{entry['path']}": ObjectInfo(int(entry["size"]), entry["last_modified"].timestamp())
            for entry in found
        }

    def names(self, folder: str) -> set[str]:
        """Return the names of objects and folders directly in a folder."""
        bucket, key = self._split(folder)
        with _said_plainly():
            found = obstore.list_with_delimiter(bucket, key or None)
        paths = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return {path.rstrip("/").rsplit("/", 1)[-1] for path in paths}

    def delete(self, path: str) -> None:
        """Delete an object or a folder."""
        bucket, key = self._split(path)
        name = path[: len(path) - len(key)]
        keys = [key, *(each.removeprefix(name) for each in self.sizes(path))]
        with _said_plainly():
            obstore.delete(bucket, keys)

    def _split(self, path: str) -> tuple[Any, str]:
        name, _, key = path.partition("/")
        if name not in self._buckets:
            self._buckets[name] = self._bucket(name)
        return self._buckets[name], key

    def _bucket(self, name: str) -> Any:
        given = self._environment
        endpoint = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL")
        config: dict[str, Any] = {"conditional_put": "etag"}
        region = self._session.get_config_variable("region")
        if endpoint:
            # S3-compatible services: bucket names in the path; a region has no meaning but is signed.
            config |= {"endpoint": endpoint, "virtual_hosted_style_request": False, "region": region or "us-east-1"}
        elif region:
            config["region"] = region
        options = {
            "allow_http": bool(endpoint),
            "connect_timeout": timedelta(seconds=self._timeouts.connect_s),
            "read_timeout": timedelta(seconds=self._timeouts.silence_s),
            "timeout": timedelta(seconds=self._timeouts.operation_s),
        }
        retries = {"max_retries": 0}
        try:
            return S3Store(
                name, config=config, client_options=options, retry_config=retries, credential_provider=self._provide
            )
        except BaseError as error:
            raise ServiceError("refused", str(error).split("\n")[0]) from error

    def _provide(self) -> dict[str, Any]:
        frozen = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_LIVE,
        }


@contextmanager
def _said_plainly() -> Iterator[None]:
    """Raise what an error of obstore means; its classes merge answers that need different remedies."""
    try:
        yield
    except (BaseError, FileNotFoundError, PermissionError) as error:
        # Below the first paragraph stands a dump of the client's state.
        text = str(error).split("\n\nDebug source:")[0]
        status, code = _STATUS.search(text), _CODE.search(text)
        if status or code:
            meaning = meaning_of_answer(code[1] if code else "", int(status[1]) if status else 0)
        elif isinstance(error, AlreadyExistsError):
            meaning = "conflict"
        else:
            meaning = "missing" if isinstance(error, FileNotFoundError) else "unreachable"
        short = f"{code[1] if code else type(error).__name__}{f' ({status[1]})' if status else ''}"
        raise ServiceError(meaning, short if status or code else f"{short}: {text}") from error
