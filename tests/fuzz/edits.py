"""Up to three places of some files changed: their bytes, words and numbers, those of arrays, too."""

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.tally import Cases, Kind

NUMBERS = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e300, 1e-300, 5e-324, 2.0**40, 1.5)
WORDS = (
    *(b"nan", b"-1", b"0", b"1e309", b"1e300", b"5e-324", b"null", b"true", b"[]", b"{}", b'""', b'"../x"', b'"/etc"'),
    *(b"9" * 30, b"9" * 5000, b'"' + b"a" * 300 + b'"', b'"' + b"a/" * 3000 + b'"', b"[" * 2000, b"#", b"\n", b" "),
    *(b"\xff\xfe", b"\x00", b'"\\ud800"', b"1000000000000", b"x"),
)
PIECES = (
    *(struct.pack("<d", one) for one in NUMBERS),
    *(struct.pack("<Q", one) for one in (0, 1, 2**31, 2**40, 2**63, 2**64 - 1)),
    *(struct.pack("<I", one) for one in (0, 99, 2**31, 2**32 - 1)),
    bytes(32), b"\xff" * 40, b"", b"\x00",
)  # fmt: skip
TOKEN = re.compile(rb'"[^"]*"|[^\s"\[\]{},:]+')
SHARE = st.floats(0, 1, exclude_max=True)
EDITS = st.lists(
    st.tuples(SHARE, st.sampled_from(["word", "number", "over", "insert", "cut", "repeat"]), SHARE, SHARE),
    min_size=1,
    max_size=3,
)


def one_of(several, share: float):
    return several[int(share * len(several))]


def edited(path: Path, how: str, place: float, what: float) -> bytes:
    """Return the content of a file with one thing changed, at a place and to a thing, both shares of what there is."""
    content = path.read_bytes()
    if path.suffix in (".npy", ".npz") and how in ("word", "number"):
        return _edited_array(path, place, one_of(NUMBERS, what))
    if how in ("word", "number"):
        tokens = list(TOKEN.finditer(content[: 64 * 1024]))
        if tokens:
            token, new = (
                one_of(tokens, place),
                one_of(WORDS, what) if how == "word" else repr(one_of(NUMBERS, what)).encode(),
            )
            return content[: token.start()] + new + content[token.end() :]
    at, piece = int(place * (len(content) + 1)), one_of(PIECES, what)
    ends = {"over": at + len(piece), "cut": at + int(what * len(content)), "repeat": max(0, at - 64)}
    return content[:at] + (b"" if how == "cut" else piece) + content[ends.get(how, at) :]


def _edited_array(path: Path, place: float, value: float) -> bytes:
    loaded = np.load(path)
    arrays = dict(loaded) if path.suffix == ".npz" else {"": loaded}
    array = one_of(sorted(arrays.items()), place)[1]
    with np.errstate(all="ignore"):
        places, at = array.reshape(-1), int(place * 1e6) % array.size
        places[at] = value if array.dtype.kind == "f" else np.clip(np.nan_to_num(value), -1, 2**30)
    other = path.with_suffix(".edited" + path.suffix)
    np.savez(other, **arrays) if path.suffix == ".npz" else np.save(other, array)
    try:
        return other.read_bytes()
    finally:
        other.unlink()


def changed(make: Callable[[Path], None], use: Callable[[Path], str]) -> Kind:
    """Return the cases of files that are made in a folder and used there, of which up to three places are changed."""

    def prepare(folder: Path) -> Cases:
        make(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        original = {path: path.read_bytes() for path in files}
        # Files that are not images are changed as often as all images together.
        pool = [path for path in files if path.suffix not in (".png", ".jpg")] + files

        @contextmanager
        def case(data: st.DataObject) -> Iterator[Callable[[], str]]:
            edits = data.draw(EDITS)
            try:
                for share, *how in edits:
                    path = one_of(pool, share)
                    # An array that an edit before this one broke cannot be edited as one.
                    with suppress(Exception):
                        path.write_bytes(edited(path, *how))
                yield lambda: use(folder)
            finally:
                for share, *_ in edits:
                    path = one_of(pool, share)
                    path.write_bytes(original[path])

        return case

    return prepare
