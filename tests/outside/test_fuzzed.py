"""A few cases of every kind that ``make fuzz`` tries by the thousand, always the same."""

import pytest

from tests.fuzz import files, stores
from tests.fuzz.tally import tally

FEW = {**dict.fromkeys(files.KINDS, 8), **dict.fromkeys(stores.KINDS, 4)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Where the store is made once."""
    return tmp_path_factory.mktemp("fuzzed")


@pytest.mark.outside(
    kind="6 small input, huge memory",
    case="files, stores, recipes and lists with anything changed",
    right="only errors of our own, under 1 GiB and 10 s of CPU each",
)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", FEW)
def test_few(tmp_path, shared, record_property, kind):
    cases, folder = (stores.KINDS[kind], shared) if kind in stores.KINDS else (files.KINDS[kind], tmp_path)
    record_property("got", f"{kind}: {tally(cases, folder, FEW[kind])}")
