"""How many bytes a scene takes, in memory and in the store: arithmetic on sizes, nothing is opened.

Counted are the arrays that grow with the scene, and those that a lifter holds while it works. Not counted are the
activations and weights of the 2D model, which its spec does not tell: leave room for them in the allowance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lift3d.config import Recipe
from lift3d.lifters.catalog import lifter_spec
from lift3d.operators.protocol import OperatorSpec
from lift3d.overlap import IN_FLIGHT
from lift3d.pipeline.bounded_cache import CACHE_BYTES
from lift3d.pipeline.evidence import EVIDENCE_BYTES
from lift3d.pipeline.products import VIEWS_PER_PART
from lift3d.runs.planned.proposals import proposal_bytes, working_bytes
from lift3d.runs.planned.sizes import FLOAT16, FLOAT32, SceneSize, feature_bytes, lifted_bytes
from lift3d.runs.planned.surface import asking_bytes, matches_bytes, reading_bytes, surface_bytes, table_bytes

# A process of lift3d run with what a first scene makes it import: 385 MB measured.
WORKER_BYTES = 368 * 2**20
# COLMAP, once imported: 55 MB measured.
_COLMAP_BYTES = 52 * 2**20
# What libraries of models take once they are imported: 70 to 120 MB measured.
_LIBRARIES, _LIBRARY_BYTES = ("timm:", "open_clip:", "transformers:"), 115 * 2**20
# SciPy's statistics, which are imported where depth is aligned: 70 MB measured.
_ALIGNMENT_BYTES = 65 * 2**20
# What lifting and scoring once leave with the libraries for as long as the process lives: measured, whatever the size.
WORKSPACE_BYTES = 60 * 2**20
# Measured peaks lie up to 10 % above the sum of the arrays: what the allocator keeps.
_ALLOCATOR_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest memory that a worker needs for a scene: all of it, what no operator changes, and whose takes most."""

    needed_bytes: int
    reserved_bytes: int
    operator: str


def stored_scene_bytes(
    size: SceneSize,
    recipe: Recipe,
    specs: Sequence[OperatorSpec],
    views_to_encode: Mapping[str, int],
    judges: Sequence[OperatorSpec] = (),
) -> int:
    """Return what a scene adds to the store, before compression: features that are missing, and all lifted views."""
    lifted_count = size.target_count * (len(recipe.lifters) + 1)
    encoded = {spec.name: spec for spec in (*specs, *judges)}
    features = sum(views_to_encode[name] * feature_bytes(spec, size.image, FLOAT16) for name, spec in encoded.items())
    return features + sum(lifted_count * lifted_bytes(spec, size.image, FLOAT16) for spec in specs)


def peak_of(
    size: SceneSize, recipe: Recipe, specs: Sequence[OperatorSpec], judges: Sequence[OperatorSpec] = ()
) -> Peak:
    """Return the peak of a worker: it decodes the largest files, lifts one part of the targets, or scores one operator.

    Frames are held from the first of them on, features from the second. Lifting holds a part of every operator and of
    every lifter that proposes at once, then one of one operator, read off the surface, with copies while it is written.
    Judges of what views show are read off the surface before it, a view at a time.
    Scoring holds, up to a bound, targets of one operator under every lifter, those of one lifter as the decoder saw
    them, and what pairs of them see; the surface is still there.
    """
    image, per_target = size.image, len(recipe.lifters) + 1
    frame = image.height * image.width * (3 * FLOAT32 + 1 + size.map_bytes_per_px)
    frames = min(CACHE_BYTES + IN_FLIGHT * frame, size.view_count * frame)
    encoded = {spec.name: spec for spec in (*specs, *judges)}
    features = sum(size.view_count * feature_bytes(spec, image) for spec in encoded.values())
    process = WORKER_BYTES + WORKSPACE_BYTES + frames + _COLMAP_BYTES * size.asks_colmap
    process += _LIBRARY_BYTES * any(library in name for name in encoded for library in _LIBRARIES)
    process += _ALIGNMENT_BYTES * any(spec.quantity in ("depth", "disparity") for spec in specs)
    reserved = process + min(CACHE_BYTES, features)
    part = min(VIEWS_PER_PART, size.target_count)
    proposing = [name for name in recipe.lifters if not lifter_spec(name).is_anchored]
    parts = [part * lifted_bytes(spec, image) for spec in specs]
    at_work = 0
    if proposing:
        proposes = recipe.model_copy(update={"lifters": proposing})
        at_work = proposal_bytes(image, proposes) + max(working_bytes(spec, image, proposes) for spec in specs)
    surface = finding = 0
    if len(proposing) < len(recipe.lifters):
        surface, finding = surface_bytes(size, recipe)
        seen, asked = asking_bytes(size, recipe)
        on_surface = (
            table_bytes(spec, size) + max(asked, reading_bytes(spec, size, recipe)) for spec in encoded.values()
        )
        at_work = max(at_work, surface + seen + max(on_surface))
    lifting = sum(parts) * len(proposing) + 3 * max(parts) + at_work
    scored = {
        spec.name: min(CACHE_BYTES, size.target_count * per_target * lifted_bytes(spec, image))
        + min(EVIDENCE_BYTES, size.target_count * 2 * feature_bytes(spec, image))
        for spec in specs
    }
    scoring = surface + matches_bytes(size) + max(scored.values())
    working = reserved + max(finding, int(_ALLOCATOR_MARGIN * max(lifting, scoring)))
    return Peak(max(process + size.decode_bytes, working), reserved, max(scored, key=scored.__getitem__))
