"""Depth of one view in units of the scene: what each view's answer is scaled and shifted by.

At each observation of a tracked point, the map's value is held against the point's depth in that camera. One noise
level is estimated over all views and tells what an outlier is (keypoints love edges of depth, where a map says
anything); a view with too few observations for a pair of its own takes that of the scene, as do held-out targets.

Letters: x a value of the operator's map; y the same in scene units; ``y = scale · x + shift``.

Source:
    Ranftl et al., Towards robust monocular depth estimation, TPAMI 2022, eq. 1-4 (alignment by scale and shift);
    Siegel, Biometrika 1982 (repeated medians, the start); Holland & Welsch, Communications in Statistics 1977
    (reweighted least squares with Cauchy's weights).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.features import FeatureMap, SceneState
from lift3d.domain.keys import ViewId
from lift3d.domain.scene_views import SceneViews
from lift3d.errors import ContractError, NoOverlapError
from lift3d.geometry.rigid import transform
from lift3d.geometry.sampling import sample
from lift3d.operators.protocol import Quantity

_KEY = "depth_alignment"
_BOUNDS_KEY = "depth_alignment_bounds"
# Own choice: two are solved for, and a robust start needs some to disagree with.
_FEWEST_OBSERVATIONS = 8
# Repeated medians look at all pairs of observations: this many tell a start as well as thousands.
_START_OBSERVATIONS = 256
# A scale counts as measured if it is this many of its standard errors from 0 (the usual three sigma).
_SURE = 3.0
# Holland & Welsch 1977: 95 % of the efficiency of least squares under Gaussian noise.
_CAUCHY = 2.385
_MAD_TO_SIGMA = 1.4826
_ROUNDS = 20
# Maps are rounded to float16 (eleven bits): no noise level below that is believed.
_FINEST_NOISE = 2.0**-11
# Own choice: depth beyond the tracked points by more than this factor is the model's pole (1/0), not a surface.
_BEYOND = 4.0


@dataclass(frozen=True, slots=True)
class DepthAlignment:
    """What takes the map of one view to scene units: a positive scale, and a shift in scene units of the quantity.

    No z-depth of the scene is below ``nearest`` or above ``farthest``, world units.
    """

    scale: float
    shift: float
    nearest: float
    farthest: float

    def z_depth(self, values: Float[Tensor, "*cell"], quantity: Quantity) -> Float[Tensor, "*cell"]:
        """Return camera z in world units, double precision, of an operator's own values."""
        # A disparity of 0 or less is as far as can be, a depth of 0 or less as near.
        aligned = self.scale * values.double() + self.shift
        if quantity == "disparity":
            return 1 / aligned.clamp(1 / self.farthest, 1 / self.nearest)
        return self.bounded(aligned)

    def bounded(self, z_depth: Float[Tensor, "*cell"]) -> Float[Tensor, "*cell"]:
        """Return z-depth within the scene's bounds."""
        return z_depth.clamp(self.nearest, self.farthest)


def converted(values: Float[Tensor, "*cell"], quantity: Quantity) -> Float[Tensor, "*cell"]:
    """Return z-depth of an aligned quantity, or the quantity of a z-depth: 1/x of disparity, depth as it is."""
    return 1 / values if quantity == "disparity" else values


def fit_depth(maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews, quantity: Quantity) -> SceneState:
    """Return the scale and shift of every view, and a pair for others, as a state that ``alignment_of`` reads.

    Maps have depth or disparity, as the quantity says, up to scale and shift, in one channel of the first cut, else
    ContractError. The pair for others is the median over views: of the scales, and of the values given to the scene's
    median answer, so that scale and shift, which trade against each other, stay a pair. The state is empty if no
    surface point that views track is known, or no view has enough of them.
    """
    if quantity not in ("depth", "disparity"):
        raise ContractError(f"Only depth and disparity are aligned to a scene, got '{quantity}'.")
    # Observations are few: the host's.
    with torch.device("cpu"):
        names = sorted(name for name in maps if name in views.cameras)
        try:
            seen = _Observations.of(names, maps, views, quantity)
        except NoOverlapError:
            return SceneState({})
        pairs, is_sure = _fit(seen, len(names))
        if not bool(is_sure.any()):
            return SceneState({})
        middle = seen.x.median()
        scale = pairs[is_sure, 0].median()
        shift = (pairs[is_sure, 0] * middle + pairs[is_sure, 1]).median() - scale * middle
        arrays = {_KEY: torch.stack([scale, shift]), _BOUNDS_KEY: seen.bounds()}
        for name, pair, sure in zip(names, pairs, is_sure.tolist(), strict=True):
            arrays[f"{_KEY}:{name}"] = pair.clone() if sure else arrays[_KEY].clone()
        return SceneState(arrays)


def alignment_of(state: SceneState, view: ViewId) -> DepthAlignment | None:
    """Return what takes a view's map to scene units: its own pair, else the scene's; None if nothing was fitted."""
    if _KEY not in state.arrays:
        return None
    own = f"{_KEY}:{view}"
    return DepthAlignment(*state.numbers(own if own in state.arrays else _KEY), *state.numbers(_BOUNDS_KEY))


@dataclass(frozen=True, slots=True, eq=False)
class _Observations:
    """Tracked points of camera z ``z_depth``, where views, by number, see them; y errs in proportion to unit."""

    view: Int[Tensor, " observation"]
    x: Float[Tensor, " observation"]
    y: Float[Tensor, " observation"]
    unit: Float[Tensor, " observation"]
    z_depth: Float[Tensor, " observation"]

    @classmethod
    def of(
        cls, names: list[ViewId], maps: Mapping[ViewId, tuple[FeatureMap, ...]], views: SceneViews, quantity: Quantity
    ) -> "_Observations":
        """Read every view's map at its observations; NoOverlapError if no surface point is known."""
        tracks = views.find_tracks()
        numbers, xs, depths = [torch.zeros(0, dtype=torch.long)], [torch.zeros(0).double()], [torch.zeros(0).double()]
        for number, name in enumerate(names):
            if name not in tracks.view_ids:
                continue
            here = tracks.view_index == tracks.view_ids.index(name)
            z_depth = transform(views.cameras[name].w2c, tracks.points[tracks.point_index[here]].double())[:, 2].cpu()
            # Sorted, so that the order in which tracks were found does not reach the last bit of a sum.
            x = _read(maps[name], tracks.uv[here], name).cpu()
            order = torch.from_numpy(np.lexsort((z_depth.numpy(), x.numpy())))
            numbers.append(torch.full((len(order),), number))
            xs.append(x[order])
            depths.append(z_depth[order])
        z_depth = torch.cat(depths)
        # Depth errs in proportion to depth; disparity, as models are trained on it, by the same amount everywhere.
        unit = z_depth if quantity == "depth" else torch.ones_like(z_depth)
        return cls(torch.cat(numbers), torch.cat(xs), converted(z_depth, quantity), unit, z_depth)

    def bounds(self) -> Float[Tensor, "2"]:
        """Return z-depths between which every surface is believed to lie; a few wrong points do not count."""
        near, far = torch.quantile(self.z_depth, torch.tensor([0.01, 0.99], dtype=torch.float64)).tolist()
        return torch.tensor([near / _BEYOND, far * _BEYOND], dtype=torch.float64)


def _read(
    maps: tuple[FeatureMap, ...], uv: Float[Tensor, "observation 2"], view: ViewId
) -> Float[Tensor, " observation"]:
    first = maps[0]
    if first.channel_count != 1 or len(maps) != 1:
        raise ContractError(
            f"A depth operator gave {len(maps)} map(s) of {first.channel_count} channels for view '{view}'; expected "
            "one map of one channel: z-depth, or 1/z for quantity 'disparity'."
        )
    return sample(first.values, uv.to(first.values), *first.grid.placement)[0].double()


def fit_lines(
    x: Float[Tensor, " place"], z_or_disparity: Float[Tensor, " place"], quantity: Quantity
) -> tuple[tuple[float, float], bool]:
    """Return scale and shift of one view's values x, and whether they are sure to have a positive scale.

    ``z_or_disparity`` is what is known there, in the quantity of the values; half of it may be wrong. Double precision.
    """
    if not len(x):
        return (0.0, 0.0), False
    # Observations are few: the host's.
    with torch.device("cpu"):
        order = torch.argsort(x, stable=True)
        x, y = x[order], z_or_disparity[order]
        unit = y if quantity == "depth" else torch.ones_like(y)
        seen = _Observations(torch.zeros(len(x), dtype=torch.long), x, y, unit, converted(y, quantity))
        pairs, is_sure = _fit(seen, 1)
        return (float(pairs[0, 0]), float(pairs[0, 1])), bool(is_sure[0])


def _fit(seen: _Observations, view_count: int) -> tuple[Float[Tensor, "view 2"], Tensor]:
    """Return scale and shift of every view's observations, and whether its scale is sure to be positive."""
    pairs = torch.zeros(view_count, 2, dtype=torch.float64)
    is_sure = torch.zeros(view_count, dtype=torch.bool)
    for number in range(view_count):
        mine = seen.view == number
        if int(mine.sum()) >= _FEWEST_OBSERVATIONS and float(seen.x[mine].std()) > 0:
            pairs[number], is_sure[number] = _start(seen.x[mine].numpy(), seen.y[mine].numpy()), True
    is_used = is_sure[seen.view]
    if not bool(is_used.any()):
        return pairs, is_sure
    x, y, unit, view = seen.x[is_used], seen.y[is_used], seen.unit[is_used], seen.view[is_used]
    finest = _FINEST_NOISE * float((y / unit).abs().median())
    for _ in range(_ROUNDS):
        residual = (pairs[view, 0] * x + pairs[view, 1] - y) / unit
        noise = max(_MAD_TO_SIGMA * float(residual.abs().median()), finest)
        weight = 1 / (1 + (residual / (_CAUCHY * noise)).square()) / unit.square()
        solved, error = _weighted_lines(x, y, weight, view, view_count)
        pairs = torch.where(is_sure[:, None], solved, pairs)
    return pairs, is_sure & (pairs[:, 0] > _SURE * noise * error)


def _weighted_lines(
    x: Tensor, y: Tensor, weight: Tensor, group: Tensor, group_count: int
) -> tuple[Float[Tensor, "group 2"], Float[Tensor, " group"]]:
    """Return the line of each group by weighted least squares, and the scale's standard error at noise 1."""

    def total(values: Tensor) -> Tensor:
        return torch.zeros(group_count, dtype=torch.float64).index_add_(0, group, values)

    mass = total(weight)
    mean_x, mean_y = total(weight * x) / mass, total(weight * y) / mass
    off_x, off_y = x - mean_x[group], y - mean_y[group]
    spread = total(weight * off_x.square())
    scale = total(weight * off_x * off_y) / spread
    return torch.stack([scale, mean_y - scale * mean_x], dim=1), spread.rsqrt()


def _start(x: NDArray[np.float64], y: NDArray[np.float64]) -> Float[Tensor, "2"]:
    """Return a line that half of the observations may disagree with; they are sorted by x."""
    # As long to import as all of torch's networks, and hardly ever asked for.
    from scipy.stats import siegelslopes

    thin = slice(None, None, -(-len(x) // _START_OBSERVATIONS))
    scale, shift = siegelslopes(y[thin], x[thin])
    return torch.tensor([float(scale), float(shift)], dtype=torch.float64)
