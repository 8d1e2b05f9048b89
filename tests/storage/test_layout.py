import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift3d.errors import StoreLayoutError
from lift3d.storage import layout

NAMES = st.text(min_size=1, max_size=100)


@given(NAMES, NAMES, NAMES)
def test_every_path_is_plain_ascii_segments_inside_the_store(scene, operator, lifter):
    for path in (
        layout.features_path(scene, operator, 256, "d"),
        layout.state_path(scene, operator, "d"),
        layout.lifted_path(scene, operator, lifter, "heldout-8-256px", "d"),
        layout.run_path("d"),
    ):
        assert path.isascii()
        segments = path.split("/")
        assert all(segments)
        assert not {".", ".."} & set(segments)


@given(
    st.lists(
        st.tuples(NAMES, NAMES, NAMES, st.text("0123456789abcdef", min_size=12, max_size=12)), unique=True, max_size=8
    )
)
def test_different_products_have_different_paths(keys):
    paths = {layout.lifted_path(scene, operator, lifter, "w", digest) for scene, operator, lifter, digest in keys}
    assert len(paths) == len(keys)


def test_no_product_lies_inside_another_and_every_object_knows_its_own():
    # An operator or a lifter may be called anything.
    for name in ("o", "parts", "lifted", "scenes", "c"):
        paths = [
            layout.features_path("s", name, 256, "d"),
            layout.state_path("s", name, "d"),
            layout.lifted_path("s", name, name, "w", "d"),
        ]
        assert not [(a, b) for a in paths for b in paths if a != b and b.startswith(f"{a}/")]
        for path in paths:
            for key in (layout.group_path(path), layout.part_path(path, 3), f"{path}/x/c/0/0"):
                assert layout.product_of(key) == path
    for key in ("lift3d.json", "scenes/s/zarr.json", "runs/d/recipe.json", "scenes/s/lifted/o/l/leaf"):
        assert layout.product_of(key) is None


def test_own_header_is_accepted():
    layout.check_store_header(layout.store_header(), "url")


@pytest.mark.parametrize("found", [0, layout.LAYOUT_VERSION + 1, "1"])
def test_other_layout_is_refused_with_a_remedy(found):
    header = json.dumps({"layout": found}).encode()
    with pytest.raises(StoreLayoutError, match=r"layout .*Give a new store URL"):
        layout.check_store_header(header, "url")


@pytest.mark.parametrize("header", [b"", b"[]", b"{}", b"\xff\xfe", b"null"])
def test_foreign_header_is_refused(header):
    with pytest.raises(StoreLayoutError, match="not the header"):
        layout.check_store_header(header, "url")


def test_layout_imports_nothing_heavy():
    heavy = {"torch", "zarr", "fsspec"}
    code = f"import sys, lift3d.storage.layout; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
