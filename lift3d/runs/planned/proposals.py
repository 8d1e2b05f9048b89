"""What lifters that propose take for one target: the search for depth, weights, their correction and the blend."""

import math

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
from lift3d.operators.protocol import COMPARABLE, OperatorSpec
from lift3d.pipeline.weigh import PICTURE_TAPS
from lift3d.runs.planned.sizes import CORNER_BYTES, FLOAT32, TAP_BYTES, cells_of, cuts_of

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


def working_bytes(spec: OperatorSpec, image: ImageSize, recipe: Recipe) -> int:
    """Return what lifting one target of one operator holds on the way: the search for depth, or what follows it."""
    kinds = [name.partition("?")[0] for name in recipe.lifters]
    search = max(_search_bytes(kind, image, recipe.sources) for kind in kinds)
    is_guided = any(lifter_spec(kind).is_guided for kind in kinds) and spec.quantity in COMPARABLE
    is_guided = is_guided and not spec.is_precomputed
    picture = image.height * image.width * PICTURE_TAPS * TAP_BYTES if is_guided else 0
    corrects = is_guided and spec.quantity != "color"
    at_cuts = []
    for channels, cells in cuts_of(spec, image):
        correction = _correction_bytes(cells, image, channels, recipe) if corrects else 0
        # Those of stage I and, where they are corrected, the vote beside them.
        weights = recipe.tap_count * cells * TAP_BYTES * (2 if corrects else 1)
        at_cuts.append(weights + max(correction, _blend_bytes(cells, recipe)))
    return max(search, picture, *at_cuts)


def _search_bytes(kind: str, image: ImageSize, source_count: int) -> int:
    """Return the volumes of stage I; depth is searched in a few sources however many there are."""
    config = PlaneSweepConfig()
    volume = config.plane_count * _guide_cells(image) * FLOAT32
    swept = min(source_count, config.swept_count)
    if kind == PLANE_SWEEP.name:
        return volume * (_SWEEP_PER_SOURCE * swept + _SWEEP_BESIDES)
    network = _UNET_VOLUMES * WIDTHS[0] * _UNET_COARSER
    is_learned = lifter_spec(kind).is_learned
    return int(volume * (_EVIDENCE_PER_SOURCE * swept + VOLUME_CHANNELS + network)) if is_learned else 0


def _correction_bytes(cells: int, image: ImageSize, channel_count: int, recipe: Recipe) -> int:
    """Return what stage II holds for the cells that it corrects at once."""
    taps = recipe.tap_count + min(recipe.tap_count, NEAR_TAPS) + SHARPENED_TAPS * len(NEIGHBOUR_OFFSETS)
    cols = max(1.0, math.sqrt(cells * image.width / image.height))
    at_once = min(cells, tile_cells(recipe.tap_count) + int(2 * TILE_MARGIN * cols))
    features = _FEATURE_COPIES * min(channel_count, PROJECTED_CHANNELS)
    return at_once * taps * (features + TAP_INPUTS + _TOKEN_COPIES * TOKEN_WIDTH + _MATRIX_COPIES * taps) * FLOAT32


def _blend_bytes(cells: int, recipe: Recipe) -> int:
    """Return the corners of one tile of cells."""
    table = recipe.sources * cells * CHANNEL_BLOCK // 2
    return min(4 * cells * recipe.tap_count, max(CORNER_TILE, table)) * CORNER_BYTES


def proposal_bytes(image: ImageSize, recipe: Recipe) -> int:
    """Return what lifters propose for one target."""
    return _guide_cells(image) * _GUIDE_SAMPLES * (2 + 2 * recipe.sources) * FLOAT32 * len(recipe.lifters)


def _guide_cells(image: ImageSize) -> int:
    config = PlaneSweepConfig()
    stride = max(config.guide_stride_px, math.sqrt(image.height * image.width / config.max_cells))
    return cells_of(image, stride)
