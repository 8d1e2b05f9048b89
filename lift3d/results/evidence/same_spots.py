"""The same few spots of a scene in a few views of it: where to look to see whether answers agree."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from lift3d.domain.keys import ViewId
from lift3d.results.cloud import PointsInView
from lift3d.results.evidence.sightings import Sightings
from lift3d.results.lifted_scene import LiftedScene

VIEWS, SPOTS = 4, 4
# Of what one view sees, the others share at least so much, all together.
_SHARED = 0.25
# Views that are further apart than this are not the better for it.
_FAR_ENOUGH_DEG = 15.0
# Of an image, what is too near to its border to be marked.
_MARGIN = 0.08


@dataclass(frozen=True, slots=True, eq=False)
class SameSpots:
    """Views in the order of the camera path, and spots that all of them see, as shares of width and height."""

    views: tuple[ViewId, ...]
    uv: Float[ndarray, "view spot 2"]


def same_spots(lifted: LiftedScene, sightings: Sightings | None) -> SameSpots:
    """Return views apart from each other that see the same spots, which are apart, too.

    Without views that share enough: a few that follow each other, and no spots.
    """
    targets = lifted.compared
    start = max(0, (len(targets) - VIEWS) // 2)
    beside = SameSpots(tuple(targets[start : start + VIEWS]), np.zeros((min(VIEWS, len(targets)), 0, 2)))
    return (_shared_spots(sightings) if sightings else None) or beside


def _shared_spots(sightings: Sightings) -> SameSpots | None:
    seen = sightings.seen
    if len(seen) < VIEWS or not len(sightings.points.xyz):
        return None
    uv = torch.stack([_shares(one) for one in seen])
    is_inside = ((uv > _MARGIN) & (uv < 1 - _MARGIN)).all(2)
    is_seen = is_inside & torch.stack([(one.quality > 0) & ~one.is_outline for one in seen])
    chosen = _apart(is_seen, torch.stack([one.camera.center for one in seen]), sightings.points.xyz)
    if not chosen:
        return None
    shared = torch.nonzero(is_seen[chosen].all(0))[:, 0]
    places = uv[chosen][:, shared]
    spots = _scattered(places.transpose(0, 1).flatten(1), SPOTS)
    return SameSpots(tuple(sightings.views[one] for one in chosen), places[:, spots].numpy())


def _shares(seen: PointsInView) -> Float[Tensor, "point 2"]:
    return seen.uv / torch.tensor([seen.camera.size.width, seen.camera.size.height], dtype=seen.uv.dtype)


def _apart(
    is_seen: Bool[Tensor, "view point"], centers: Float[Tensor, "view 3"], xyz: Float[Tensor, "point 3"]
) -> list[int]:
    """Return views that share much of what they see though they are apart; none if no four share enough."""
    best = 0.0
    found: list[int] = []
    for first in range(len(is_seen)):
        joint, chosen = is_seen[first], [first]
        least = max(SPOTS, int(_SHARED * int(joint.sum())))
        if int(joint.sum()) < SPOTS:
            continue
        ways = torch.nn.functional.normalize(centers - xyz[joint].mean(0), dim=1)
        degrees = torch.rad2deg(torch.arccos((ways @ ways.T).clamp(-1, 1)))
        while len(chosen) < VIEWS:
            shares = (is_seen & joint).sum(1)
            nearest = degrees[chosen].amin(0).clamp(max=_FAR_ENOUGH_DEG)
            nearest[shares < least] = 0.0
            nearest[chosen] = 0.0
            # Of views that are equally far the one that shares more.
            following = int((nearest + 1e-3 * shares / shares.max()).argmax())
            if float(nearest[following]) == 0:
                break
            chosen.append(following)
            joint = joint & is_seen[following]
        if len(chosen) == VIEWS:
            own = degrees[chosen][:, chosen]
            apart = float(own[~torch.eye(VIEWS, dtype=torch.bool)].min())
            score = min(apart, _FAR_ENOUGH_DEG) * int(joint.sum())
            if score > best:
                best, found = score, chosen
    return sorted(found)


def _scattered(places: Float[Tensor, "point axis"], count: int) -> list[int]:
    """Return points as far from each other as can be, from the middle one on."""
    middle = (places - places.mean(0)).norm(dim=1)
    chosen = [int(middle.argmin())]
    while len(chosen) < min(count, len(places)):
        distance = torch.cdist(places, places[chosen]).amin(1)
        chosen.append(int(distance.argmax()))
    return chosen
