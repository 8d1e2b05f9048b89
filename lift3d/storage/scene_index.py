"""One group over the products of a scene, so that any reader of Zarr opens all of them at once. A cache."""

from collections.abc import Iterable
from typing import Any

from lift3d.domain.keys import SceneId
from lift3d.errors import DamagedProductError
from lift3d.storage.commit import committed
from lift3d.storage.layout import group_path, scene_path
from lift3d.storage.location import Store
from lift3d.storage.manifest import to_json


def write_scene_index(store: Store, scene: SceneId, products: Iterable[str]) -> None:
    """Write the group of a scene, with the metadata of some of its products; what is not committed is left out."""
    root = scene_path(scene)
    metadata: dict[str, Any] = {}
    for path in products:
        try:
            commit = committed(store, path)
        except DamagedProductError:
            continue
        if commit is None:
            continue
        leaf = path.removeprefix(f"{root}/")
        folders = leaf.split("/")
        for depth in range(1, len(folders)):
            metadata.setdefault("/".join(folders[:depth]), _group({}))
        metadata[leaf] = _group(dict(commit.manifest.attrs))
        metadata |= {f"{leaf}/{name}": fields for name, fields in commit.manifest.arrays.items()}
    what = "Features and lifted views of the last run on a scene; see README.txt in the root of the store"
    consolidated = {"kind": "inline", "must_understand": False, "metadata": metadata}
    content = _group({"what": what, "scene": scene}) | {"consolidated_metadata": consolidated}
    store.write_bytes(group_path(root), to_json(content))


def _group(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}
