"""Instances of one view as instances of the scene: which masks of different views are one thing.

Each observation of a tracked surface point is a vote of its point for the mask that claims it there. The rule, in two
steps that depend neither on the order of views nor on that of channels:

1. Greedy agglomeration. Every mask with votes is a group. The two groups that overlap most are joined, again and again,
   while they share at least two observations and their overlap is above one half: points shared over points of either,
   each counted where the other's views see them, over all pairs of their views. Two masks of one view are never
   joined here; the operator itself tells them apart. Ties go to more shared points, then to the group of the point
   that was tracked first.
2. A mask that is left alone joins the group of several views that at least half of its points vote for in other views:
   a piece of something that other views see whole.

Masks without a vote belong to no scene id, and a group of one view keeps an id of its own.

Source:
    Kirillov et al., Panoptic segmentation, CVPR 2019, §4.1: an overlap above one half matches uniquely.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError, NoOverlapError
from lift3d.geometry.sampling import nearest_cells

_KEY = "instance_ids"
_COUNT_KEY = "instance_count"
# Masks are shares in [0, 1]: one that claims less than half of a place does not have it.
CLAIMED = 0.5
# As panoptic quality matches.
_JOINED_ABOVE = 0.5
# One shared point may be a false match.
_FEWEST_SHARED = 2
# What a channel without a scene id is mapped to.
NO_ID = -1


@dataclass(frozen=True, slots=True)
class _Mask:
    """One mask of one view, and the tracked points that it claims."""

    view: int
    channel: int
    points: frozenset[int]


@dataclass(slots=True, eq=False)
class _Group:
    """Masks of different views that are one thing so far, by their numbers, and the views that they are of.

    Attributes:
        seen_in: How many of their votes are observations of a view as well, whichever of its masks they vote for there.
        first: The point that was tracked first, and its view: what tells groups apart whatever their numbers.
        shared: Points shared with another group, by its number, summed over pairs of views.
    """

    masks: list[int]
    views: set[int]
    seen_in: Counter[int]
    first: tuple[int, int]
    shared: Counter[int] = field(default_factory=Counter)


def fit_instances(maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews) -> SceneState:
    """Return the scene id of every channel of every view, as a state that ``scene_ids_of`` reads.

    Maps are masks in [0, 1], a channel each, in the first cut; all views have as many (a mask of nothing is 0
    everywhere), else ContractError. The state is empty if no surface point that views track is known, or none is
    claimed by a mask.
    """
    names = sorted(name for name in maps if name in views.cameras)
    try:
        tracks = views.find_tracks()
    except NoOverlapError:
        return SceneState({})
    masks: list[_Mask] = []
    channels: dict[ViewId, int] = {}
    for number, name in enumerate(names):
        channels[name] = maps[name][0].channel_count
        if name in tracks.view_ids:
            here = tracks.view_index == tracks.view_ids.index(name)
            masks += _masks(number, maps[name][0], tracks.point_index[here], tracks.uv[here])
    if len(set(channels.values())) > 1:
        raise ContractError(
            f"An operator of instances gave {sorted(set(channels.values()))} channels for different views; expected as "
            "many in each. Fill with masks of nothing."
        )
    if not masks:
        return SceneState({})
    ids = _scene_ids(masks)
    tables = {name: torch.full((channels[name],), NO_ID, dtype=torch.long) for name in names}
    for mask, scene_id in zip(masks, ids, strict=True):
        tables[names[mask.view]][mask.channel] = scene_id
    # A view that is not fitted on keeps its own ids, and there must be room for them.
    count = max(max(ids) + 1, *channels.values())
    arrays = {f"{_KEY}:{name}": table for name, table in tables.items()}
    return SceneState({**arrays, _COUNT_KEY: torch.tensor([count])})


def is_associated(state: SceneState) -> bool:
    """Whether a state says which instances are one."""
    return _COUNT_KEY in state.arrays


def scene_ids_of(state: SceneState, view: ViewId) -> Int[Tensor, " channel"] | None:
    """Return the scene id of each channel of a view, NO_ID where it has none; None if nothing was fitted on it."""
    return state.arrays.get(f"{_KEY}:{view}")


def in_scene_ids(features: FeatureMap, ids: Int[Tensor, " channel"] | None, state: SceneState) -> FeatureMap:
    """Return masks with a channel per scene id; those of one id are added up, to 1 at most.

    Where no ids are given, masks keep their own numbers. ContractError if there are not as many channels as ids.
    """
    (count,) = state.numbers(_COUNT_KEY)
    ids = torch.arange(features.channel_count) if ids is None else ids
    if len(ids) != features.channel_count or len(ids) > count:
        raise ContractError(
            f"A view has {features.channel_count} masks, its association {len(ids)}, and the scene {count} ids; an "
            "operator of instances gives as many channels in every view. Fill with masks of nothing."
        )
    # Those without an id go into one more channel, which is dropped.
    values = features.values.new_zeros(count + 1, *features.values.shape[1:])
    values.index_add_(0, torch.where(ids == NO_ID, count, ids), features.values)
    return FeatureMap(values[:-1].clamp(max=1), features.grid)


def _masks(
    view: int, features: FeatureMap, point: Int[Tensor, " observation"], uv: Float[Tensor, "observation 2"]
) -> Iterator[_Mask]:
    """Yield the masks of a view that claim a tracked point."""
    cell = nearest_cells(uv.double(), *features.grid.lattice)
    values, channel = features.values.flatten(1)[:, cell.clamp(min=0)].max(0)
    claims = (cell >= 0) & (values >= CLAIMED)
    for number in torch.unique(channel[claims]).tolist():
        yield _Mask(view, number, frozenset(point[claims & (channel == number)].tolist()))


def _scene_ids(masks: list[_Mask]) -> list[int]:
    """Return the scene id of each mask: groups of most observations first."""
    groups = _joined(masks)
    group_of = {mask: number for number, group in groups.items() for mask in group.masks}
    for piece, whole in _pieces(masks, groups, group_of).items():
        groups.pop(group_of[piece])
        group_of[piece] = whole
    sizes: Counter[int] = Counter()
    for number, mask in enumerate(masks):
        sizes[group_of[number]] += len(mask.points)
    ranked = sorted(groups, key=lambda number: (-sizes[number], groups[number].first))
    rank = {number: scene_id for scene_id, number in enumerate(ranked)}
    return [rank[group_of[number]] for number in range(len(masks))]


def _joined(masks: list[_Mask]) -> dict[int, _Group]:
    """Join groups, the most overlapping first, while they overlap by more than half."""
    groups = _alone(masks)
    queue = [_offer(groups, one, other) for one in groups for other in groups[one].shared if one < other]
    heapq.heapify(queue)
    fresh = len(masks)
    while queue:
        overlap, shared, _, _, one, other = heapq.heappop(queue)
        if one not in groups or other not in groups or groups[one].views & groups[other].views:
            continue
        if -overlap <= _JOINED_ABOVE or -shared < _FEWEST_SHARED:
            continue
        a, b = groups.pop(one), groups.pop(other)
        joined = _Group(
            a.masks + b.masks, a.views | b.views, a.seen_in + b.seen_in, min(a.first, b.first), a.shared + b.shared
        )
        for gone in (one, other):
            joined.shared.pop(gone, None)
        groups[fresh] = joined
        for neighbour in list(joined.shared):
            theirs = groups[neighbour].shared
            theirs[fresh] = theirs.pop(one, 0) + theirs.pop(other, 0)
            heapq.heappush(queue, _offer(groups, neighbour, fresh))
        fresh += 1
    return groups


def _alone(masks: list[_Mask]) -> dict[int, _Group]:
    """Return every mask as a group of its own, with the points that it shares with others."""
    claimed_by: dict[int, list[int]] = {}
    for number, mask in enumerate(masks):
        for point in mask.points:
            claimed_by.setdefault(point, []).append(number)
    groups = {}
    for number, mask in enumerate(masks):
        observations = [other for point in mask.points for other in claimed_by[point] if masks[other].view != mask.view]
        groups[number] = _Group(
            [number],
            {mask.view},
            Counter(masks[other].view for other in observations),
            (min(mask.points), mask.view),
            Counter(observations),
        )
    return groups


def _offer(
    groups: Mapping[int, _Group], one: int, other: int
) -> tuple[float, int, tuple[int, int], tuple[int, int], int, int]:
    """Return how much two groups overlap, as heaps sort: the best offer is the smallest."""
    a, b = groups[one], groups[other]
    shared = a.shared[other]
    either = sum(a.seen_in[view] for view in b.views) + sum(b.seen_in[view] for view in a.views) - shared
    return -shared / either, -shared, min(a.first, b.first), max(a.first, b.first), one, other


def _pieces(masks: list[_Mask], groups: Mapping[int, _Group], group_of: Mapping[int, int]) -> dict[int, int]:
    """Return the masks that are left alone and what they are a piece of: a group of several views."""
    pieces = {}
    for group in groups.values():
        own = masks[group.masks[0]]
        if len(group.masks) > 1:
            continue
        votes: Counter[int] = Counter()
        for number, other in enumerate(masks):
            if other.view != own.view:
                votes[group_of[number]] += len(own.points & other.points)
        wholes = [number for number in votes if len(groups[number].masks) > 1]
        best = min(wholes, key=lambda number: (-votes[number], groups[number].first), default=None)
        if best is not None and 2 * votes[best] >= votes.total() and votes[best] >= _FEWEST_SHARED:
            pieces[group.masks[0]] = best
    return pieces
