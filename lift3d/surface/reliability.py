"""Places of a view that show what is no part of the scene: a passer-by, a hand, what was moved.

There the view's features differ from what views beside it say together, much more than these differ from one another,
and nearly as much as features of unrelated places do. Where all differ, as at mirrors or at depth that is wrong, nobody
is to blame.

Source:
    RobustNeRF (Sabour et al., CVPR 2023): what is no part of a scene fills neighbourhoods, hence the mean and the
    opening; NeRF On-the-go (Ren et al., CVPR 2024): features tell it better than colours do.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.domain.features import FeatureGrid, FeatureMap
from lift3d.domain.keys import ViewId
from lift3d.geometry.box_mean import BoxMean
from lift3d.geometry.rays import cell_centers
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import sample
from lift3d.surface.neighbours import AngleChoice, angles_to, choose_views
from lift3d.surface.scene_surface import SceneSurface

# Of what unrelated places differ by beyond what views usually do: from the first on a view shows something else, which
# reaches as far as the second.
CONTRADICTED, REACHES = 0.45, 0.15
# Sides of what is averaged over, of the smallest thing that counts, and of the rim that goes with it, as shares of the
# image's height.
AVERAGED, SMALLEST, RIM = 0.1, 0.12, 0.06
# Features change with the direction of view: those that see a place from elsewhere are no judges.
BESIDE = AngleChoice(2.0, 6.0, 20.0, 12)
# Places of a view by which its neighbours are told.
_PROBES = 64


def views_beside(surface: SceneSurface, place: int) -> tuple[ViewId, ...]:
    """Return the views that see much of what one of them shows, from directions near its own."""
    camera, places = surface.views[place].camera, surface.sparse[place].cpu().double()
    places = places[:, torch.isfinite(places[2])]
    if not places.shape[1]:
        return ()
    # Cameras are the host's.
    with torch.device("cpu"):
        probes = torch.linalg.inv(camera.K) @ places[:, :: max(1, places.shape[1] // _PROBES)]
        angles = angles_to(camera.center, transform(camera.c2w, probes.T), [view.camera for view in surface.views])
        return tuple(surface.ids[one] for one in choose_views(angles, BESIDE) if one != place)


def unrelated_residual(features: Float[Tensor, "cell channel"]) -> Float[Tensor, ""]:
    """Return the mean residual of features of unrelated places: each with one half of all cells further on."""
    return residual(features, features.roll(len(features) // 2, 0)).mean()


def residual(own: Float[Tensor, "cell channel"], shown: Float[Tensor, "cell channel"]) -> Float[Tensor, " cell"]:
    """Return how much features differ in direction: 1 − cos."""
    return 1 - F.cosine_similarity(own, shown, dim=1)


def beyond(
    own: Float[Tensor, "cell channel"], shown: Float[Tensor, "cell channel"], agreement: Float[Tensor, " cell"]
) -> Float[Tensor, " cell"]:
    """Return how much more features differ from what others say together than these differ from it themselves.

    ``agreement`` is the length of the mean of the others' directions: 1 less it is their own mean residual, exactly.
    """
    return residual(own, shown) - (1 - agreement)


def contradiction(excess: FeatureMap, scale: Float[Tensor, ""], grid: FeatureGrid) -> Float[Tensor, "row col"]:
    """Return how far a view contradicts the others at cells of a grid, from 0 (as usual) to 1 (as unrelated places).

    Args:
        excess: ``beyond`` of a view, one channel; NaN where others show nothing.
        scale: What unrelated places differ by beyond what views of one place usually do.
        grid: The cells.
    """
    values = excess.values / scale
    rows, cols = excess.grid.shape
    mean_around = BoxMean(rows, cols, _cells(AVERAGED, rows))
    is_known = torch.isfinite(values)
    known = mean_around(is_known.float())
    # Running sums leave crumbs where nothing is known.
    mean = torch.where(known > 1e-4, mean_around(values.nan_to_num(0.0)) / known, 0.0)
    uv = cell_centers(*grid.lattice).reshape(-1, 2)
    return sample(mean, uv, *excess.grid.placement)[0].reshape(grid.shape)


def is_contradicted(score: Float[Tensor, "row col"]) -> Bool[Tensor, "row col"]:
    """Return where a view shows what is no part of the scene: large enough things as far as they reach, with rims."""
    # Not for those who plan alone.
    from skimage.filters import apply_hysteresis_threshold

    rows = score.shape[0]
    smallest = _cells(SMALLEST, rows)
    sure = _widest(-_widest(-(score > CONTRADICTED).float(), smallest), smallest)
    likely = torch.maximum((score > REACHES).float(), sure)
    reached = apply_hysteresis_threshold((sure + likely).numpy(force=True), 0.5, 1.5)
    return _widest(torch.as_tensor(reached, dtype=torch.float32), _cells(RIM, rows)) > 0


def without(surface: SceneSurface, places: Mapping[ViewId, Bool[Tensor, "row col"]]) -> SceneSurface:
    """Return a surface of which some views do not know some of their cells; nobody owns it."""
    views = []
    for view in surface.views:
        is_cut = places[view.id]
        views.append(
            replace(
                view,
                z_depth=view.z_depth.masked_fill(is_cut, torch.nan),
                confidence=view.confidence.masked_fill(is_cut, 0.0),
                quality=view.quality.masked_fill(is_cut, 0.0),
            )
        )
    return SceneSurface(surface.method, views)


def _cells(share: float, rows: int) -> int:
    """Return half of a side that is a share of the height, in cells."""
    return round(share * rows / 2)


def _widest(values: Float[Tensor, "row col"], radius: int) -> Float[Tensor, "row col"]:
    return F.max_pool2d(values[None, None], 2 * radius + 1, 1, radius)[0, 0]
