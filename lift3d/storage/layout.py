"""Where everything lies in a store: pure functions from ids and digests to relative paths.

Light: imports neither torch nor zarr.

    lift3d.json                                        layout version of the whole store
    scenes/SCENE/features/OPERATOR/DIGEST/VIEW/        what encode_view gives for one image (a cache)
    scenes/SCENE/state/OPERATOR/DIGEST/                what is fitted on the scene, sparse tracks among it (a cache)
    scenes/SCENE/lifted/OPERATOR/LIFTER/DIGEST/PART/   lifted features and predictions of some views
    scenes/SCENE/scores/DIGEST/                        score rows
    runs/RECIPE/                                       record of a run: the recipe, a JSON file for each scene under
                                                       scenes/, tables and pictures made of them

Every leaf under scenes/ is a *product*: private ``attempts/ATTEMPT/`` folders, and ``COMMIT.json`` naming the
one that counts. A digest covers what the product depends on and nothing else, with the version of every stage
involved. What lies under runs/ is plain files that are written again at will: a cache of what the products say,
and the list of those that a run rests on.
"""

import json
import re

from lift3d.domain.keys import SceneId, slug
from lift3d.errors import StoreLayoutError

LAYOUT_VERSION = 2

STORE_FILE = "lift3d.json"
COMMIT_FILE = "COMMIT.json"
MANIFEST_FILE = "MANIFEST.json"
ATTEMPTS_FOLDER = "attempts"
ARRAYS_FOLDER = "data.zarr"
DOCUMENT_FILE = "document.json"
SCENES_FOLDER = "scenes"
RUNS_FOLDER = "runs"

# An operator may well be called "attempts": only a random id below makes it the folder of ours.
_IN_PRODUCT = re.compile(rf"(.+?)/(?:{ATTEMPTS_FOLDER}/([0-9a-f]{{32}})/.+|{COMMIT_FILE})")


def run_path(recipe_digest: str) -> str:
    """Return where the record of a run lies."""
    return _join(RUNS_FOLDER, recipe_digest)


def features_path(scene: SceneId, operator: str, operator_digest: str, view_digest: str) -> str:
    """Return where the feature maps of one image lie; by content, so that adding a view keeps the rest."""
    return _join(SCENES_FOLDER, scene, "features", operator, operator_digest, view_digest)


def state_path(scene: SceneId, operator: str, digest: str) -> str:
    """Return where an operator's scene state lies."""
    return _join(SCENES_FOLDER, scene, "state", operator, digest)


def lifted_path(scene: SceneId, operator: str, lifter: str, digest: str, part: int = 0) -> str:
    """Return where one part of an operator's lifted views lies."""
    return _join(SCENES_FOLDER, scene, "lifted", operator, lifter, digest, f"part-{part:04d}")


def scores_path(scene: SceneId, digest: str) -> str:
    """Return where a scene's score rows lie."""
    return _join(SCENES_FOLDER, scene, "scores", digest)


def commit_path(product: str) -> str:
    """Return the path of a product's commit marker."""
    return f"{product}/{COMMIT_FILE}"


def attempt_path(product: str, attempt: str) -> str:
    """Return the private folder of one attempt at a product."""
    return f"{product}/{ATTEMPTS_FOLDER}/{attempt}"


def product_of(key: str) -> str | None:
    """Return the product that an object belongs to, or None for what belongs to none."""
    found = _IN_PRODUCT.fullmatch(key)
    return found[1] if found else None


def attempt_of(key: str) -> str | None:
    """Return the attempt that an object belongs to, or None for markers and what belongs to none."""
    found = _IN_PRODUCT.fullmatch(key)
    return found[2] if found else None


def store_header() -> bytes:
    """Return the content of STORE_FILE for a new store."""
    return json.dumps({"format": "lift3d-store", "layout": LAYOUT_VERSION}).encode()


def check_store_header(header: bytes, url: str) -> None:
    """Refuse a store that another layout wrote.

    Raises:
        StoreLayoutError: If the header is not ours, or of an older or newer layout.
    """
    try:
        found = json.loads(header)["layout"]
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
