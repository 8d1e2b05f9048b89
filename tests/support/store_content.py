"""What a store holds, bit for bit, without what may differ between two writes of the same content."""

from lift3d.storage.commit import committed
from lift3d.storage.layout import product_of
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry


def committed_content(store: Store) -> dict[str, dict[str, Entry]]:
    """Return size and checksum of every object of every committed product."""
    products = {product_of(key) for key in store.list("scenes")}
    found = {path: committed(store, path) for path in products if path is not None}
    return {path: dict(commit.manifest.entries) for path, commit in found.items() if commit is not None}
