"""Which views to compare: those that see the same places from angles at which depth can be told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.geometry.projection import is_inside, project
from lift3d.geometry.rays import baseline_angle
from lift3d.geometry.rigid import transform

# A neighbour that shares less than this with a view, weighed by angle, is none.
_LEAST_SCORE = 0.02
# Below this there is no baseline; nor is a view its own neighbour.
_NO_BASELINE_RAD = 2e-3


@dataclass(frozen=True, slots=True)
class AngleChoice:
    """At which angle between two views' rays, degrees, a view counts most, and how many views to take at most.

    At ``low`` and ``high`` it counts e^(−1/2) times as much.
    """

    low: float
    best: float
    high: float
    count: int


# Smaller angles tell depth poorly, larger ones look different.
MATCHED = AngleChoice(2.0, 5.0, 10.0, 5)
# A depth that was found is recognised from farther away than a photograph.
FUSED = AngleChoice(3.0, 7.0, 25.0, 24)


def angles_to(
    center: Float[Tensor, "3"], probes: Float[Tensor, "probe 3"], cameras: Sequence[Camera]
) -> Float[Tensor, "view probe"]:
    """Return the angle at each probe between the rays to a centre, which sees it, and to each camera, radians.

    World coordinates, double precision; NaN where a camera does not see a probe.
    """

    def angle(w2c: Float[Tensor, "4 4"], K: Float[Tensor, "3 3"], extent: Float[Tensor, "2"]) -> Tensor:
        uv, is_in_front = project(transform(w2c, probes), K)
        is_seen = is_in_front & is_inside(uv / extent, 1, 1)
        at_probe = baseline_angle(probes, center, -w2c[:3, :3].T @ w2c[:3, 3])
        return torch.where(is_seen, at_probe, torch.nan)

    extents = [[camera.size.width, camera.size.height] for camera in cameras]
    stacks = [torch.stack([camera.w2c for camera in cameras]), torch.stack([camera.K for camera in cameras])]
    angles: Callable[..., Tensor] = torch.vmap(angle)
    return angles(*stacks, torch.tensor(extents, dtype=torch.float64))


def choose_views(angle_rad: Float[Tensor, "view probe"], choice: AngleChoice) -> list[int]:
    """Return the views to compare with, best first; ties go by place.

    A view counts by the share of the probes that it sees, each weighed by its angle. A view from the same place,
    so the view itself, is never chosen.

    Source:
        Pairwise view selection with a preferred angle: Yao et al., MVSNet, ECCV 2018, §4.1.
    """
    beyond = torch.rad2deg(angle_rad) - choice.best
    width = torch.where(beyond < 0, choice.best - choice.low, choice.high - choice.best)
    weight = torch.where(angle_rad > _NO_BASELINE_RAD, torch.exp(-(beyond / width).square() / 2), 0.0)
    # Scores that differ by rounding alone are equal.
    scores = weight.mean(1).round(decimals=9).tolist()
    ranked = sorted(range(len(scores)), key=lambda place: -scores[place])
    return [place for place in ranked[: choice.count] if scores[place] > _LEAST_SCORE]
