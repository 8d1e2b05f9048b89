"""What a store holds, bit for bit, without what may differ between two writes of the same content."""

from lift3d.errors import DamagedProductError
from lift3d.storage.audit import audit_product
from lift3d.storage.commit import committed
from lift3d.storage.layout import product_of
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry


def committed_content(store: Store) -> dict[str, dict[str, Entry]]:
    products = {product_of(key) for key in store.list("scenes")}
    found = {path: committed(store, path) for path in products if path is not None}
    return {path: dict(commit.manifest.entries) for path, commit in found.items() if commit is not None}


def require_whole(store: Store, path: str, checksums: bool = True) -> None:
    """Raise if a product is not committed and whole, to the bit or by names and sizes."""
    found = audit_product(store, path, checksums)
    if found.verdict != "whole":
        raise DamagedProductError(f"{path} is {found.verdict}: {found.damage}")
