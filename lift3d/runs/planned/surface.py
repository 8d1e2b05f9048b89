"""What the surface takes: while it is found, asked by targets and read for operators, and where views match on it."""

import math

from lift3d.config import Recipe
from lift3d.lifters.blend import CORNER_TILE
from lift3d.metrics.correspondence import KEPT_PAIRS, POINTS_PER_PAIR, SURFACE_POINTS
from lift3d.operators.protocol import COMPARABLE, OperatorSpec
from lift3d.pipeline.anchor import FINER, MADE_BYTES, MOST_TABLE_BYTES, averages_probabilities, carries_answers
from lift3d.pipeline.decode import KEPT_BYTES
from lift3d.pipeline.products import VIEWS_PER_PART
from lift3d.runs.planned.sizes import (
    CORNER_BYTES,
    FLOAT16,
    FLOAT32,
    TAP_BYTES,
    SceneSize,
    cells_of,
    cuts_of,
    prediction_bytes,
)
from lift3d.surface.anchored import TARGET_STRIDE_PX
from lift3d.surface.anchors import GUIDE_STRIDE_PX
from lift3d.surface.catalog import PLANAR, SWEEP, parse_geometry
from lift3d.surface.depth_map import given_stride_px
from lift3d.surface.held import IN_MEMORY_BYTES
from lift3d.surface.keyframes import MOST_POINTS, POINT_PITCH_PX
from lift3d.surface.light import CONSULTED, NEAREST
from lift3d.surface.planar import ASKED_VIEWS
from lift3d.surface.sweep import PHOTOGRAPHS, SweepConfig

# Of a cell of the surface: depth, confidence and quality; and while it is found, depth and confidence of a round.
_SURFACE_FLOATS, _ROUND_FLOATS = 3, 2
# Beside two rounds, the sweep keeps what each view votes for; of a photograph, its pattern; of the view at work, costs.
# What is asked together, whatever the size: measured.
_VOTE_FLOATS, _PHOTOGRAPH_BYTES, _COST_FLOATS, _FINDING_BYTES = 6, 33, 1000, 20 * 2**20
# Where a network completes the sweep: what is known of each view, and a sparse matrix of the view at work, measured.
_PRIOR_FLOATS, _SOLVED_BYTES = 20, 2500
# Where planes do: of each view its colours, of those that are asked the costs of planes, and differences of the view at
# work from its partners.
_PLANAR_FLOATS, _PLANE_COSTS, _COMPARED_BYTES = 6, 13, 4000
# Of a point that a pair of targets both see: three places, in double precision. Pairs that a target has a part in, and
# the share of its points that both see.
_MATCH_BYTES, _PAIRS_PER_TARGET, _SHARED_POINTS = 48, 3, 0.7
# Of a surface point and a target, while it is found who sees it: measured.
_SIGHT_BYTES = 128
# Of a guide cell and view while a target asks what the view shows there, and which of the views own it.
_ASKED_FLOATS = 12
# Of a cell and view that is consulted for light, and of a tap that is read for it: those are so many, at three depths.
_LIGHT_FLOATS, _LIGHT_TAP_FLOATS, _LIGHT_TAPS = 20, 15, 3 * NEAREST
# Of features on fine cells: what is blended, at its own length, without holes, and at length 1.
_FINE_COPIES = 4


def surface_bytes(size: SceneSize, recipe: Recipe) -> tuple[int, int]:
    """Return the surface of all views, and what it takes to find it."""
    asked = parse_geometry(recipe.geometry or SWEEP.name)
    is_searched = asked.kind in (SWEEP.name, PLANAR.name)
    is_given = (size.map_bytes_per_px > 0 and recipe.geometry is None) or not is_searched
    own = cells_of(size.image, given_stride_px(size.image) if is_given else 1.0)
    own = own if is_given else min(SweepConfig().max_cells, own)
    surface, one_round = (
        min(IN_MEMORY_BYTES, size.view_count * own * floats * FLOAT32) for floats in (_SURFACE_FLOATS, _ROUND_FLOATS)
    )
    finding = surface + 2 * one_round + _FINDING_BYTES
    if not is_given:
        kept = min(PHOTOGRAPHS, size.view_count) * _PHOTOGRAPH_BYTES
        finding += own * (kept + (size.view_count * _VOTE_FLOATS + _COST_FLOATS) * FLOAT32)
    if asked.kind == PLANAR.name:
        # When the sweep is done.
        costs = min(ASKED_VIEWS, size.view_count) * _PLANE_COSTS
        planar = own * ((size.view_count * _PLANAR_FLOATS + costs) * FLOAT32 + _COMPARED_BYTES)
        finding = max(finding, surface + 2 * one_round + _FINDING_BYTES + planar)
    if asked.prior:
        finding += own * (size.view_count * _PRIOR_FLOATS * FLOAT32 + _SOLVED_BYTES)
    return surface, finding


def asking_bytes(size: SceneSize, recipe: Recipe) -> tuple[int, int]:
    """Return what the targets of a part see of the surface, and what one of them asks the views."""
    cells, pixels = cells_of(size.image, GUIDE_STRIDE_PX), cells_of(size.image, TARGET_STRIDE_PX)
    witnesses = min(recipe.tap_count, size.view_count)
    seen = cells * (witnesses * (FLOAT32 + FLOAT16) + 2 * FLOAT32) + pixels * FLOAT32
    asked = cells * size.view_count * _ASKED_FLOATS * FLOAT32
    # Which views own the surface: whether each sees points of every other one, a bit each, and what one pass holds.
    points = min(MOST_POINTS, size.view_count * cells_of(size.image, POINT_PITCH_PX))
    asked = max(asked, points * (size.view_count // 8 + 32))
    return min(VIEWS_PER_PART, size.target_count) * seen, asked


def reading_bytes(spec: OperatorSpec, size: SceneSize, recipe: Recipe) -> int:
    """Return what reading one target off the surface holds: of light, or of the cells' witnesses."""
    if spec.quantity == "color":
        consulted = _LIGHT_FLOATS * min(CONSULTED, size.view_count) + _LIGHT_TAPS * _LIGHT_TAP_FLOATS
        return cells_of(size.image, spec.stride_px) * consulted * FLOAT32
    taps = min(recipe.tap_count, size.view_count)
    channels, cells = max(cuts_of(spec, size.image), key=lambda one: one[1])
    fine = 0
    if spec.decodes_cells:
        cells = min(FINER**2 * cells, max(cells, cells_of(size.image, given_stride_px(size.image))))
        fine = _FINE_COPIES * (channels + 1) * cells * FLOAT32
    return cells * taps * TAP_BYTES + min(4 * cells * taps, CORNER_TILE) * CORNER_BYTES + fine


def table_bytes(spec: OperatorSpec, size: SceneSize) -> int:
    """Return what an operator says of all views: cuts, answers, the same without holes, coarse bands."""
    tables, kept = [], 0
    if averages_probabilities(spec) or (spec.quantity in COMPARABLE and spec.quantity != "color"):
        tables = [(channels + 1) * cells * FLOAT32 for channels, cells in cuts_of(spec, size.image)]
    if carries_answers(spec):
        answers = size.view_count * prediction_bytes(spec, size.image)
        tables += [prediction_bytes(spec, size.image)] * (spec.prediction_kind != "labels")
        made = answers * (2 if spec.prediction_kind == "image" else 1)
        kept = min(KEPT_BYTES, answers) + min(MADE_BYTES, made)
    return sum(min(MOST_TABLE_BYTES, size.view_count * one) for one in tables) + kept


def matches_bytes(size: SceneSize) -> int:
    """Return the depth of all targets and what pairs of them both see of it; tracks take little."""
    if size.map_bytes_per_px == 0:
        return 0
    pixels = size.image.height * size.image.width
    points = pixels // math.ceil(math.sqrt(pixels / POINTS_PER_PAIR)) ** 2
    pairs = min(KEPT_PAIRS, size.target_count * min(_PAIRS_PER_TARGET, (size.target_count - 1) / 2))
    held = pixels * FLOAT32 + min(SURFACE_POINTS, points * size.target_count) * _SIGHT_BYTES
    return size.target_count * held + int(pairs * points * _SHARED_POINTS) * _MATCH_BYTES
