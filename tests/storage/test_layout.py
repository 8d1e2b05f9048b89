from hypothesis import given
from hypothesis import strategies as st

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
