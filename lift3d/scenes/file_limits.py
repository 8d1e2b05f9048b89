"""Files of a scene, read within limits: what they say of themselves is checked before memory is taken for it."""

import hashlib
import io
import struct
import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from lift3d.domain.keys import parse_json
from lift3d.errors import SceneFormatError

# A camera with its paths takes about a kilobyte of JSON: sixty thousand of them. Parsed, it may take twenty times that.
MAX_TEXT_BYTES = 64 * 2**20
# A 4x4 matrix with all digits of its numbers takes a tenth of this.
MAX_MATRIX_BYTES = 4 * 2**10
# numpy writes a header of 128 bytes before the 128 bytes of a 4x4 matrix.
MAX_MEMBER_BYTES = 4 * 2**10
# Each camera of a scene has three matrices.
MAX_MEMBERS = 10**5
# A row of poses takes 136 bytes: half a million of them.
MAX_ARRAY_BYTES = 64 * 2**20
# A map of forty megapixels, double precision.
MAX_MAP_BYTES = 2**28 + 2**26
_MAP_NAMES = ("depth", "z_depth", "depths", "pred", "arr_0")
_BLOCK_BYTES = 2**20
# numpy reads the header of an array with Python's own parser.
_NOT_READABLE = (
    *(OSError, ValueError, EOFError, KeyError, MemoryError, OverflowError),
    *(SyntaxError, tokenize.TokenError, RecursionError, struct.error),
)


def read_text(path: Path, most_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark; ValueError if it is not."""
    require_bytes(path, most_bytes)
    return path.read_text(encoding="utf-8-sig")


def read_json(path: Path) -> Any:
    """Return what a file of JSON says; SceneFormatError if it is none, or too large."""
    try:
        return parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise SceneFormatError(f"'{path}' is not readable as JSON: {error}. Write or copy it again.") from error


def require_bytes(path: Path, most_bytes: int) -> None:
    """Refuse, by SceneFormatError, a file that is larger than any of its kind."""
    size = path.stat().st_size
    if size > most_bytes:
        raise SceneFormatError(f"'{path}' has {size} bytes; at most {most_bytes} are read. Is it the right file?")


def digest_file(path: Path, most_bytes: int) -> str:
    """Return what ``digest_bytes`` gives for the content of a file, without holding the content."""
    require_bytes(path, most_bytes)
    with path.open("rb") as stream:
        state = hashlib.sha256(stream.seek(0, io.SEEK_END).to_bytes(8, "little"))
        stream.seek(0)
        while block := stream.read(_BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()[:16]


def map_array(path: Path, most_bytes: int = MAX_ARRAY_BYTES) -> Shaped[ndarray, "..."]:
    """Return the array of a ``.npy`` file, of which only what is looked at is read. Objects are never loaded.

    SceneFormatError if it is none, promises more than the file holds, or is too large.
    """
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except _NOT_READABLE as error:
        raise SceneFormatError(f"'{path}' is not readable as an array: {error}.") from error
    if mapped.nbytes > most_bytes:
        raise SceneFormatError(f"'{path}' holds {mapped.nbytes} bytes; at most {most_bytes} are read.")
    return mapped


def read_map(path: Path, most_bytes: int = MAX_MAP_BYTES) -> Shaped[ndarray, "..."]:
    """Return the one array of an ``.npz`` file, or of several the one that is called as depth is.

    SceneFormatError if it is no such file, unpacks to more than a map, or does not tell which array is meant.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
            names = [*members] if len(members) == 1 else [name for name in _MAP_NAMES if name in members]
            if not names:
                shown = ", ".join([*members][:5]) or "nothing"
                raise SceneFormatError(f"'{path}' should hold one map, or one named '{_MAP_NAMES[0]}'; it has {shown}.")
            if members[names[0]].file_size > most_bytes:
                raise SceneFormatError(
                    f"'{path}' unpacks to {members[names[0]].file_size} bytes; at most {most_bytes} are read."
                )
            found: ndarray = np.load(io.BytesIO(archive.read(members[names[0]])), allow_pickle=False)
            return found
    except (*_NOT_READABLE, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise SceneFormatError(f"'{path}' is not readable as an array: {type(error).__name__}: {error}.") from error


def read_matrices(path: Path, prefixes: tuple[str, ...]) -> dict[str, Shaped[ndarray, "..."]]:
    """Return the small arrays of an ``.npz`` file whose names begin so; objects are never loaded.

    SceneFormatError if it is no such file, or unpacks to more than small arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if one.filename.startswith(prefixes)]
            large = [one.filename for one in members if one.file_size > MAX_MEMBER_BYTES]
            if large or len(members) > MAX_MEMBERS:
                what = f"'{large[0]}' unpacks to more than a matrix" if large else f"it has {len(members)} members"
                raise SceneFormatError(f"'{path}' is no file of cameras: {what}. Write it again with numpy.savez.")
            return {
                one.filename.removesuffix(".npy"): np.load(io.BytesIO(archive.read(one)), allow_pickle=False)
                for one in members
            }
    except (*_NOT_READABLE, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise SceneFormatError(
            f"'{path}' is not readable as arrays of numbers ({type(error).__name__}). Write it again with numpy.savez; "
            "pickled objects are never loaded."
        ) from error
