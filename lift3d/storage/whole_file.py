"""Local files and folders that are there whole or not at all."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lift3d.errors import ConfigError


def check_place(path: Path) -> None:
    """Refuse, before anything is computed, a name where no file can be: one is made in the nearest folder there is."""
    folder = next(one for one in path.absolute().parents if os.path.lexists(one))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be written: '{folder}' takes no files: {error.strerror or error}. Give a name in a "
            "folder that takes files."
        ) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the block a name beside a path, and rename what it wrote there; what an error leaves behind is deleted.

    It may be a folder. The folder around it is made. The name ends as the path does: writers tell a form by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem[:40]}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
