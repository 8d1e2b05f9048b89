"""Where everything lies in a store: pure functions from names and digests to relative paths (README, docs/store.md).

Light: imports neither torch nor zarr. Every leaf under scenes/ is a *product*: a Zarr group whose ``zarr.json`` is
written last and so says that it is whole. A digest covers what the product depends on and nothing else, with the
version of every stage involved. What lies under runs/ is plain files that are written again at will.
"""

import json

from lift3d.domain.keys import SceneId, parse_json, slug
from lift3d.errors import StoreLayoutError

LAYOUT_VERSION = 2

STORE_FILE = "lift3d.json"
README_FILE = "README.txt"
GROUP_FILE = "zarr.json"
PARTS_FOLDER = "parts"
SCENES_FOLDER = "scenes"
RUNS_FOLDER = "runs"

# Of a digest of 16 in the name of a leaf: enough to tell the leaves of one folder apart, and short to type.
_DIGITS = 12

# Segments between the kind of a product and its end.
_DEPTHS = {"features": 2, "state": 2, "geometry": 2, "lifted": 3}

README = """A store of lift3d: answers of 2D vision models, lifted so that they agree across the views of a scene.

scenes/SCENE/features/OPERATOR/…         what a model computes for each image
scenes/SCENE/lifted/OPERATOR/LIFTER/…    the same lifted to each target view; the lifter raw2d is the plain 2D answer
scenes/SCENE/geometry/METHOD/…           the surface that the views show: depth of each of them
scenes/SCENE/state/…                     what was fitted on a scene, such as sparse tracks
runs/RUN/                                recipe, records and score tables of a run

Each leaf with a zarr.json is a plain Zarr v3 group; one without is still being written. A whole scene, or one leaf:
    xarray.open_datatree("scenes/SCENE", engine="zarr", chunks=None)
    xarray.open_zarr("scenes/SCENE/lifted/OPERATOR/LIFTER/LEAF", chunks=None)
"""


def run_path(recipe_digest: str) -> str:
    """Return where the record of a run lies."""
    return _join(RUNS_FOLDER, recipe_digest)


def scene_path(scene: SceneId) -> str:
    """Return the folder of a scene's products."""
    return _join(SCENES_FOLDER, scene)


def features_folder(scene: SceneId, operator: str) -> str:
    """Return the folder of all features of an operator in a scene."""
    return _join(SCENES_FOLDER, scene, "features", operator)


def features_path(scene: SceneId, operator: str, height: int, digest: str) -> str:
    """Return where the features of some views of a scene lie, encoded at an image height."""
    return f"{features_folder(scene, operator)}/{slug(f'{height}px-{digest[:_DIGITS]}')}"


def state_path(scene: SceneId, operator: str, digest: str) -> str:
    """Return where an operator's scene state lies."""
    return _join(SCENES_FOLDER, scene, "state", operator, digest)


def geometry_path(scene: SceneId, method: str, height: int, digest: str) -> str:
    """Return where the surface that some views of a scene show lies, at an image height."""
    return _join(SCENES_FOLDER, scene, "geometry", method, f"{height}px-{digest[:_DIGITS]}")


def lifted_path(scene: SceneId, operator: str, lifter: str, words: str, digest: str) -> str:
    """Return where an operator's lifted views lie; words say to people which ones."""
    return _join(SCENES_FOLDER, scene, "lifted", operator, lifter, f"{words}-{digest[:_DIGITS]}")


def group_path(product: str) -> str:
    """Return the path of a product's group file, which is its commit marker."""
    return f"{product}/{GROUP_FILE}"


def part_path(product: str, number: int) -> str:
    """Return where the record of a finished part lies until the product is committed."""
    return f"{product}/{PARTS_FOLDER}/{number:04d}.json"


def product_of(key: str) -> str | None:
    """Return the product that an object belongs to, or None for what belongs to none."""
    segments = key.split("/")
    depth = _DEPTHS.get(segments[2]) if segments[0] == SCENES_FOLDER and len(segments) > 3 else None
    return "/".join(segments[: 3 + depth]) if depth is not None and len(segments) > 3 + depth else None


def is_key(text: str) -> bool:
    """Whether a text is a relative path of plain segments."""
    return not ({"", ".", ".."} & {*text.split("/")} or "\\" in text or "\0" in text)


def is_product(path: str) -> bool:
    """Whether a path is that of a product, and not of what lies above or in one."""
    return is_key(path) and product_of(group_path(path)) == path


def store_header() -> bytes:
    """Return the content of STORE_FILE for a new store."""
    return json.dumps({"format": "lift3d-store", "layout": LAYOUT_VERSION}).encode()


def check_store_header(header: bytes, url: str) -> None:
    """Refuse a store that another layout wrote."""
    try:
        found = parse_json(header)["layout"]
    except (ValueError, TypeError, KeyError):
        raise StoreLayoutError(
            f"{url}/{STORE_FILE} is not the header of a lift3d store. Give the URL of another or a new store."
        ) from None
    if found != LAYOUT_VERSION:
        raise StoreLayoutError(
            f"The store {url} has layout {found}; this lift3d reads and writes layout {LAYOUT_VERSION}. "
            f"Give a new store URL (products can be computed again), or use the lift3d that wrote this one."
        )


def _join(*segments: str) -> str:
    return "/".join(slug(segment) for segment in segments)
