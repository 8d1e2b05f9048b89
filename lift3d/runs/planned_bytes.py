"""How many bytes a scene takes, in memory and in the store: arithmetic on sizes, nothing is opened.

Counted are the arrays that grow with the scene, and those that a lifter holds while it works. Not counted are the
activations and weights of the 2D model, which its spec does not tell: leave room for them in the allowance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lift3d.config import Recipe
from lift3d.domain.camera import ImageSize
from lift3d.lifters.blend import CHANNEL_BLOCK, CORNER_TILE
from lift3d.lifters.catalog import PLANE_SWEEP, lifter_spec
from lift3d.lifters.corrective import TILE_MARGIN, tile_cells
from lift3d.lifters.networks.corrector import TAP_INPUTS, TOKEN_WIDTH
from lift3d.lifters.networks.density_proposal import WIDTHS
from lift3d.lifters.plane_sweep import PlaneSweepConfig
from lift3d.lifters.ray_evidence import VOLUME_CHANNELS
from lift3d.lifters.tap_agreement import NEAR_TAPS, NEIGHBOUR_OFFSETS, PROJECTED_CHANNELS, SHARPENED_TAPS
from lift3d.metrics.correspondence import KEPT_PAIRS, POINTS_PER_PAIR, SURFACE_POINTS
from lift3d.operators.protocol import COMPARABLE, OperatorSpec
from lift3d.overlap import IN_FLIGHT
from lift3d.pipeline.anchor import FINER, MADE_BYTES, MOST_TABLE_BYTES, averages_probabilities, carries_answers
from lift3d.pipeline.bounded_cache import CACHE_BYTES
from lift3d.pipeline.decode import KEPT_BYTES
from lift3d.pipeline.evidence import EVIDENCE_BYTES
from lift3d.pipeline.products import VIEWS_PER_PART
from lift3d.pipeline.weigh import PICTURE_TAPS
from lift3d.surface.anchored import TARGET_STRIDE_PX
from lift3d.surface.anchors import GUIDE_STRIDE_PX
from lift3d.surface.catalog import SWEEP
from lift3d.surface.depth_map import given_stride_px
from lift3d.surface.held import IN_MEMORY_BYTES
from lift3d.surface.keyframes import MOST_POINTS, POINT_PITCH_PX
from lift3d.surface.light import CONSULTED, NEAREST
from lift3d.surface.sweep import PHOTOGRAPHS, SweepConfig

_FLOAT32, _FLOAT16, _INT64 = 4, 2, 8
# A process of lift3d run with what a first scene makes it import: 385 MB measured.
WORKER_BYTES = 368 * 2**20
# COLMAP, once imported: 55 MB measured.
_COLMAP_BYTES = 52 * 2**20
# What libraries of models take once they are imported: 70 to 120 MB measured.
_LIBRARIES, _LIBRARY_BYTES = ("timm:", "open_clip:", "transformers:"), 115 * 2**20
# SciPy's statistics, which are imported where depth is aligned: 70 MB measured.
_ALIGNMENT_BYTES = 65 * 2**20
# Channels of an operator that tells them only after the first image; those of a large vision transformer.
ASSUMED_CHANNELS = 1024
# What lifting and scoring once leave with the libraries for as long as the process lives: measured, whatever the size.
WORKSPACE_BYTES = 60 * 2**20
# Measured peaks lie up to 10 % above the sum of the arrays: what the allocator keeps.
_ALLOCATOR_MARGIN = 1.1
# The most samples that a lifter keeps per guide cell.
_GUIDE_SAMPLES = 8
# Volumes (a float per plane and guide cell) of the sweep. Per source: occupancy and visibility, then who sees what of
# the target. Besides: costs while they are aggregated, in both directions and with their paths, and the votes.
_SWEEP_PER_SOURCE, _SWEEP_BESIDES = 3, 26
# Of the learned stage I per source: occupancy and visibility in its own frame; both and preference in the target's.
_EVIDENCE_PER_SOURCE = 5
# Of the U-Net: those of its finest level that are there at once, and what the coarser ones add to them.
_UNET_VOLUMES, _UNET_COARSER = 6, 1.15
# Floats of one tap in stage II: its features, in another order of memory, squared and masked; its scalars; tokens with
# queries, keys and values. Its share of the solver's matrices comes on top.
_FEATURE_COPIES, _TOKEN_COPIES, _MATRIX_COPIES = 4, 4, 2
# Of one tap: source (int64), two coordinates, weight and log scale. Twice, since rows are put together at the end.
_TAP_BYTES = 2 * (_INT64 + 4 * _FLOAT32)
# Of a cell of the surface: depth, confidence and quality; and while it is found, depth and confidence of a round.
_SURFACE_FLOATS, _ROUND_FLOATS = 3, 2
# Beside two rounds, the sweep keeps what each view votes for; of a photograph, its pattern; of the view at work, costs.
# What is asked together, whatever the size: measured.
_VOTE_FLOATS, _PHOTOGRAPH_BYTES, _COST_FLOATS, _FINDING_BYTES = 6, 33, 1000, 20 * 2**20
# Of a point that a pair of targets both see: three places, in double precision. Pairs that a target has a part in, and
# the share of its points that both see.
_MATCH_BYTES, _PAIRS_PER_TARGET, _SHARED_POINTS = 48, 3, 0.7
# Of a surface point and a target, while it is found who sees it: measured.
_SIGHT_BYTES = 128
# Of a guide cell and view while a target asks what the view shows there, and which of the views own it.
_ASKED_FLOATS = 12
# Of a cell and view that is consulted for light, and of a tap that is read for it: those are so many, at three depths.
_LIGHT_FLOATS, _LIGHT_TAP_FLOATS, _LIGHT_TAPS = 20, 15, 3 * NEAREST
# Of one corner of a tap while it is blended: its index, its share, and a temporary of each.
_CORNER_BYTES = 20
# Of features on fine cells: what is blended, at its own length, without holes, and at length 1.
_FINE_COPIES = 4


@dataclass(frozen=True, slots=True)
class SceneSize:
    """What the bytes of a scene depend on besides the recipe; views are those that are usable.

    Maps are depth, labels and instances; ``decode_bytes`` is what decoding holds, of as many of the largest image files
    as are decoded at once; COLMAP is asked for points where a view has no depth, and about lenses.
    """

    image: ImageSize
    view_count: int
    target_count: int
    map_bytes_per_px: int = 0
    decode_bytes: int = 0
    asks_colmap: bool = False

    def __str__(self) -> str:
        return f"{self.view_count} views and {self.target_count} targets of {self.image.height}x{self.image.width}"


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest memory that a worker needs for a scene: all of it, what no operator changes, and whose takes most."""

    needed_bytes: int
    reserved_bytes: int
    operator: str


def cuts_of(spec: OperatorSpec, image: ImageSize) -> list[tuple[int, int]]:
    """Return channels (assumed where the spec does not tell them) and cells of one view, cut by cut."""
    cuts = [(spec.channel_count or ASSUMED_CHANNELS, spec.stride_px), *spec.further_cuts]
    return [(channels, _cells(image, stride)) for channels, stride in cuts]


def feature_bytes(spec: OperatorSpec, image: ImageSize, number_bytes: int = _FLOAT32) -> int:
    """Return the bytes of one view's features: 4 per value in memory, 2 in the store before compression."""
    return sum(channels * cells for channels, cells in cuts_of(spec, image)) * number_bytes


def lifted_bytes(spec: OperatorSpec, image: ImageSize, number_bytes: int = _FLOAT32) -> int:
    """Return the bytes of one lifted view: features, as ``feature_bytes``, with what stands beside and prediction."""
    beside = sum(cells for _, cells in cuts_of(spec, image)) * 3 * _FLOAT32
    return feature_bytes(spec, image, number_bytes) + beside + _prediction_bytes(spec, image)


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
    features = sum(views_to_encode[name] * feature_bytes(spec, size.image, _FLOAT16) for name, spec in encoded.items())
    return features + sum(lifted_count * lifted_bytes(spec, size.image, _FLOAT16) for spec in specs)


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
    frame = image.height * image.width * (3 * _FLOAT32 + 1 + size.map_bytes_per_px)
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
        at_work = _proposal_bytes(image, proposes) + max(working_bytes(spec, image, proposes) for spec in specs)
    surface = finding = 0
    if len(proposing) < len(recipe.lifters):
        surface, finding = _surface_bytes(size, recipe)
        seen, asked = _asking_bytes(size, recipe)
        on_surface = (
            _table_bytes(spec, size) + max(asked, _reading_bytes(spec, size, recipe)) for spec in encoded.values()
        )
        at_work = max(at_work, surface + seen + max(on_surface))
    lifting = sum(parts) * len(proposing) + 3 * max(parts) + at_work
    scored = {
        spec.name: min(CACHE_BYTES, size.target_count * per_target * lifted_bytes(spec, image))
        + min(EVIDENCE_BYTES, size.target_count * 2 * feature_bytes(spec, image))
        for spec in specs
    }
    scoring = surface + _matches_bytes(size) + max(scored.values())
    working = reserved + max(finding, int(_ALLOCATOR_MARGIN * max(lifting, scoring)))
    return Peak(max(process + size.decode_bytes, working), reserved, max(scored, key=scored.__getitem__))


def working_bytes(spec: OperatorSpec, image: ImageSize, recipe: Recipe) -> int:
    """Return what lifting one target of one operator holds on the way: the search for depth, or what follows it."""
    kinds = [name.partition("?")[0] for name in recipe.lifters]
    search = max(_search_bytes(kind, image, recipe.sources) for kind in kinds)
    is_guided = any(lifter_spec(kind).is_guided for kind in kinds) and spec.quantity in COMPARABLE
    is_guided = is_guided and not spec.is_precomputed
    picture = image.height * image.width * PICTURE_TAPS * _TAP_BYTES if is_guided else 0
    corrects = is_guided and spec.quantity != "color"
    at_cuts = []
    for channels, cells in cuts_of(spec, image):
        correction = _correction_bytes(cells, image, channels, recipe) if corrects else 0
        # Those of stage I and, where they are corrected, the vote beside them.
        weights = recipe.tap_count * cells * _TAP_BYTES * (2 if corrects else 1)
        at_cuts.append(weights + max(correction, _blend_bytes(cells, recipe)))
    return max(search, picture, *at_cuts)


def _search_bytes(kind: str, image: ImageSize, source_count: int) -> int:
    """Return the volumes of stage I; depth is searched in a few sources however many there are."""
    config = PlaneSweepConfig()
    volume = config.plane_count * _guide_cells(image) * _FLOAT32
    swept = min(source_count, config.swept_count)
    if kind == PLANE_SWEEP.name:
        return volume * (_SWEEP_PER_SOURCE * swept + _SWEEP_BESIDES)
    network = _UNET_VOLUMES * WIDTHS[0] * _UNET_COARSER
    is_learned = lifter_spec(kind).is_learned
    return int(volume * (_EVIDENCE_PER_SOURCE * swept + VOLUME_CHANNELS + network)) if is_learned else 0


def _surface_bytes(size: SceneSize, recipe: Recipe) -> tuple[int, int]:
    """Return the surface of all views, and what it takes to find it."""
    is_given = size.map_bytes_per_px > 0 or (recipe.geometry or SWEEP.name) != SWEEP.name
    own = _cells(size.image, given_stride_px(size.image) if is_given else 1.0)
    own = own if is_given else min(SweepConfig().max_cells, own)
    surface, one_round = (
        min(IN_MEMORY_BYTES, size.view_count * own * floats * _FLOAT32) for floats in (_SURFACE_FLOATS, _ROUND_FLOATS)
    )
    finding = surface + 2 * one_round + _FINDING_BYTES
    if not is_given:
        kept = min(PHOTOGRAPHS, size.view_count) * _PHOTOGRAPH_BYTES
        finding += own * (kept + (size.view_count * _VOTE_FLOATS + _COST_FLOATS) * _FLOAT32)
    return surface, finding


def _matches_bytes(size: SceneSize) -> int:
    """Return the depth of all targets and what pairs of them both see of it; tracks take little."""
    if size.map_bytes_per_px == 0:
        return 0
    pixels = size.image.height * size.image.width
    points = pixels // math.ceil(math.sqrt(pixels / POINTS_PER_PAIR)) ** 2
    pairs = min(KEPT_PAIRS, size.target_count * min(_PAIRS_PER_TARGET, (size.target_count - 1) / 2))
    held = pixels * _FLOAT32 + min(SURFACE_POINTS, points * size.target_count) * _SIGHT_BYTES
    return size.target_count * held + int(pairs * points * _SHARED_POINTS) * _MATCH_BYTES


def _asking_bytes(size: SceneSize, recipe: Recipe) -> tuple[int, int]:
    """Return what the targets of a part see of the surface, and what one of them asks the views."""
    cells, pixels = _cells(size.image, GUIDE_STRIDE_PX), _cells(size.image, TARGET_STRIDE_PX)
    witnesses = min(recipe.tap_count, size.view_count)
    seen = cells * (witnesses * (_FLOAT32 + _FLOAT16) + 2 * _FLOAT32) + pixels * _FLOAT32
    asked = cells * size.view_count * _ASKED_FLOATS * _FLOAT32
    # Which views own the surface: whether each sees points of every other one, a bit each, and what one pass holds.
    points = min(MOST_POINTS, size.view_count * _cells(size.image, POINT_PITCH_PX))
    asked = max(asked, points * (size.view_count // 8 + 32))
    return min(VIEWS_PER_PART, size.target_count) * seen, asked


def _reading_bytes(spec: OperatorSpec, size: SceneSize, recipe: Recipe) -> int:
    """Return what reading one target off the surface holds: of light, or of the cells' witnesses."""
    if spec.quantity == "color":
        consulted = _LIGHT_FLOATS * min(CONSULTED, size.view_count) + _LIGHT_TAPS * _LIGHT_TAP_FLOATS
        return _cells(size.image, spec.stride_px) * consulted * _FLOAT32
    taps = min(recipe.tap_count, size.view_count)
    channels, cells = max(cuts_of(spec, size.image), key=lambda one: one[1])
    fine = 0
    if spec.decodes_cells:
        cells = min(FINER**2 * cells, max(cells, _cells(size.image, given_stride_px(size.image))))
        fine = _FINE_COPIES * (channels + 1) * cells * _FLOAT32
    return cells * taps * _TAP_BYTES + min(4 * cells * taps, CORNER_TILE) * _CORNER_BYTES + fine


def _table_bytes(spec: OperatorSpec, size: SceneSize) -> int:
    """Return what an operator says of all views: cuts, answers, the same without holes, coarse bands."""
    tables, kept = [], 0
    if averages_probabilities(spec) or (spec.quantity in COMPARABLE and spec.quantity != "color"):
        tables = [(channels + 1) * cells * _FLOAT32 for channels, cells in cuts_of(spec, size.image)]
    if carries_answers(spec):
        answers = size.view_count * _prediction_bytes(spec, size.image)
        tables += [_prediction_bytes(spec, size.image)] * (spec.prediction_kind != "labels")
        made = answers * (2 if spec.prediction_kind == "image" else 1)
        kept = min(KEPT_BYTES, answers) + min(MADE_BYTES, made)
    return sum(min(MOST_TABLE_BYTES, size.view_count * one) for one in tables) + kept


def _cells(image: ImageSize, stride: float) -> int:
    return math.ceil(image.height / stride) * math.ceil(image.width / stride)


def _correction_bytes(cells: int, image: ImageSize, channel_count: int, recipe: Recipe) -> int:
    """Return what stage II holds for the cells that it corrects at once."""
    taps = recipe.tap_count + min(recipe.tap_count, NEAR_TAPS) + SHARPENED_TAPS * len(NEIGHBOUR_OFFSETS)
    cols = max(1.0, math.sqrt(cells * image.width / image.height))
    at_once = min(cells, tile_cells(recipe.tap_count) + int(2 * TILE_MARGIN * cols))
    features = _FEATURE_COPIES * min(channel_count, PROJECTED_CHANNELS)
    return at_once * taps * (features + TAP_INPUTS + _TOKEN_COPIES * TOKEN_WIDTH + _MATRIX_COPIES * taps) * _FLOAT32


def _blend_bytes(cells: int, recipe: Recipe) -> int:
    """Return the corners of one tile of cells."""
    table = recipe.sources * cells * CHANNEL_BLOCK // 2
    return min(4 * cells * recipe.tap_count, max(CORNER_TILE, table)) * _CORNER_BYTES


def _proposal_bytes(image: ImageSize, recipe: Recipe) -> int:
    return _guide_cells(image) * _GUIDE_SAMPLES * (2 + 2 * recipe.sources) * _FLOAT32 * len(recipe.lifters)


def _guide_cells(image: ImageSize) -> int:
    config = PlaneSweepConfig()
    stride = max(config.guide_stride_px, math.sqrt(image.height * image.width / config.max_cells))
    return _cells(image, stride)


def _prediction_bytes(spec: OperatorSpec, image: ImageSize) -> int:
    channels, cells = cuts_of(spec, image)[0]
    if spec.prediction_kind == "embedding":
        return cells * (channels * _FLOAT32 + 1)
    per_pixel = {"image": 3 * _FLOAT32, "labels": _INT64, "masks": channels * _FLOAT32, "scalar": _FLOAT32}
    return image.height * image.width * (per_pixel[spec.prediction_kind] + 1)
