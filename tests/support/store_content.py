"""What a store holds, bit for bit, without what may differ between two writes of the same content."""

from lift3d.storage.commit import Entry, committed, read_manifest
from lift3d.storage.layout import COMMIT_FILE
from lift3d.storage.location import Store


def committed_content(store: Store) -> dict[str, dict[str, Entry]]:
    """Return size and checksum of every object of every committed product."""
    paths = [key.removesuffix(f"/{COMMIT_FILE}") for key in store.list("scenes") if key.endswith(COMMIT_FILE)]
    content = {}
    for path in paths:
        commit = committed(store, path)
        assert commit is not None
        content[path] = dict(read_manifest(store, commit).entries)
    return content
