"""Products that are one JSON document (score rows, records of scenes and runs), committed like all others."""

import json
from typing import Any

from lift3d.storage import commit as protocol
from lift3d.storage.layout import DOCUMENT_FILE, attempt_path
from lift3d.storage.location import Store
from lift3d.storage.manifest import Entry, Manifest, to_json


def write_document(
    store: Store, path: str, content: Any, at_step: protocol.StepHook = protocol.ignore_step
) -> protocol.Commit:
    """Commit a JSON document as a product, or adopt the one that is already there.

    Raises:
        StoreLayoutError: If the content is not plain JSON with finite numbers.
        StoreUnavailableError: If the store does not answer or refuses.
    """
    attempt = protocol.new_attempt()
    encoded = to_json(content)
    at_step("begun")
    store.write_bytes(f"{attempt_path(path, attempt)}/{DOCUMENT_FILE}", encoded)
    at_step("filling")
    at_step("filled")
    manifest = Manifest(attempt, {DOCUMENT_FILE: Entry.of(encoded)}, {})
    return protocol.commit_attempt(store, path, manifest, at_step)


def read_document(store: Store, path: str) -> Any:
    """Return a committed JSON document, verified.

    Raises:
        ProductMissingError: If it was never committed.
        DamagedProductError: If it is damaged.
    """
    commit = protocol.require_commit(store, path)
    manifest = protocol.read_manifest(store, commit)
    return json.loads(protocol.read_entry(store, commit.folder, DOCUMENT_FILE, manifest.entries[DOCUMENT_FILE]))
