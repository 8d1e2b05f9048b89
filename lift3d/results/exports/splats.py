"""What was lifted, given to the splats of a file: features, labels, values and colours per Gaussian, in its order."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lift3d.domain.features import FeatureGrid
from lift3d.domain.lifted import LiftedView
from lift3d.domain.scene import UNKNOWN_LABEL
from lift3d.errors import SceneFormatError
from lift3d.geometry.gaussians import Gaussians
from lift3d.geometry.splatting import SplatPicture, splat_picture
from lift3d.results.cloud import whole_grid
from lift3d.results.exports.files import Columns, kept_rows, world_words
from lift3d.results.lifted_scene import LiftedScene
from lift3d.scenes.ply_splats import SplatFile

# Splats nearer than this share of what a view shows are not before it but around it.
_NEAREST_SHARE = 0.1
# Sums that are held at once; of more channels, views are gone through again.
_SUMMED_BYTES = 2**30
# A splat is seen if it has so much of a pixel in all views together.
_SEEN = 1e-3
# Where splats show a surface, it is that of the lifted views within this share at so many places at least.
_ONE_SURFACE, _LEAST_FITTING, _FEWEST_PLACES = 0.2, 0.2, 100


def export_splats(lifted: LiftedScene, out: Path, onto: Path, only: tuple[int, ...] = ()) -> list[str]:
    """Write a file of splats with what was lifted of each, and return what there is to say.

    Each splat has the mean over all pixels of all lifted views that show it, weighed by how much of their colour it is:
    the normalised back-projection. Labels are what most of that weight says in the views' own 2D answers. Rows stay as
    they are, in their order; with ``only``, those of these labels alone.

    Source:
        Marrie et al., LUDVIG, ICCV 2025, eq. 3.

    Raises:
        SceneFormatError: If the file holds no splats, or they are not where the views show a surface.
        ConfigError: If no splat has one of the labels.
    """
    file = SplatFile(onto)
    splats = file.splats
    gaussians = Gaussians.of(splats.xyz, splats.opacity, splats.scale, splats.rotation)
    kind = next(lifted.views()).prediction.kind
    gathered = _gathered(lifted, gaussians, onto)
    is_seen = file.in_file((gathered.weight > _SEEN).numpy(), 0.0)
    columns = _columns(file, gathered, is_seen, kind)
    kept = kept_rows(columns, only)
    frame = world_words(lifted)
    file.write(out, columns, [f"lift3d: {lifted.name}, {lifted.operator}, {lifted.lifter}", frame], kept)
    names = ", ".join(columns) if len(columns) < 8 else f"{next(iter(columns))} and {len(columns) - 1} more"
    count = len(file) if kept is None else int(kept.sum())
    return [
        f"{count} of {len(file)} splats in their order, {is_seen.mean():.1%} of which are seen, with {names}",
        frame,
    ]


@dataclass(slots=True)
class _Gathered:
    """Sums over views: of weights, of values by channel, of weights by label."""

    weight: Float[Tensor, " splat"]
    sums: list[Float[Tensor, "splat channel"]] = field(default_factory=list)
    votes: dict[int, Float[Tensor, " splat"]] = field(default_factory=dict)


def _gathered(lifted: LiftedScene, gaussians: Gaussians, onto: Path) -> _Gathered:
    count, fits = len(gaussians.xyz), _Fits()
    found, votes = _Gathered(torch.zeros(count)), defaultdict[int, Tensor](lambda: torch.zeros(count))
    first = next(lifted.views())
    is_labelled = first.prediction.kind in ("labels", "masks")
    channels = 1 if is_labelled else _values(first, slice(None)).shape[1]
    at_once = max(1, _SUMMED_BYTES // (4 * max(1, count)))
    for start in range(0, channels, at_once):
        some = slice(start, min(start + at_once, channels))
        total = torch.zeros(count, some.stop - some.start)
        for view, grid, drawn in _drawn(lifted, gaussians):
            values = _values(view, some)
            sums, weight = drawn.given_back(values, count)
            total += sums
            if start:
                continue
            found.weight += weight
            fits.add(view, grid, drawn)
            if is_labelled:
                _vote(votes, drawn, _labels(_voter(lifted, view)), count)
        fits.require(lifted, onto)
        if not is_labelled:
            found.sums.append(total)
    found.votes = dict(votes)
    return found


def _voter(lifted: LiftedScene, view: LiftedView) -> LiftedView:
    """Return who votes for labels: the plain 2D answer where there is one, since each view is then a voice of its own.

    Masks have the numbers of the scene in lifted views alone.
    """
    plain = lifted.plain(view.target) if view.prediction.kind == "labels" else None
    return plain or view


def _vote(votes: dict[int, Tensor], drawn: SplatPicture, labels: Shaped[Tensor, " cell"], count: int) -> None:
    """Add the weight that a view gives each splat of each label."""
    there = torch.unique(labels[labels != UNKNOWN_LABEL])
    at_once = max(1, _SUMMED_BYTES // (4 * max(1, count, len(labels))))
    for some in there.split(at_once):
        weights, _ = drawn.given_back((labels[:, None] == some).float(), count)
        for label, weight in zip(some.tolist(), weights.T, strict=True):
            votes[int(label)] += weight


def _drawn(lifted: LiftedScene, gaussians: Gaussians) -> Iterator[tuple[LiftedView, FeatureGrid, SplatPicture]]:
    for view in lifted.views():
        shape = tuple(view.prediction.is_valid.shape)
        grids = [one.features.grid for one in view.lifted]
        grid = next((one for one in grids if one.shape == shape), whole_grid(view.camera.size, *shape))
        depths = view.lifted[0].z_depth
        known = depths[torch.isfinite(depths)]
        near = _NEAREST_SHARE * float(known.min()) if len(known) else 0.0
        yield view, grid, splat_picture(view.camera, grid, gaussians, near)


class _Fits:
    """Whether splats stand where the views show a surface."""

    def __init__(self) -> None:
        self.asked = self.fitting = 0

    def add(self, view: LiftedView, grid: FeatureGrid, drawn: SplatPicture) -> None:
        """Compare the splats' depth with that of a view."""
        z, total = drawn.rendered_depth()
        own = view.lifted[0]
        if own.features.grid.shape != grid.shape:
            z, total = (
                torch.nn.functional.interpolate(one[None, None], own.features.grid.shape, mode="nearest")[0, 0]
                for one in (z, total)
            )
        is_asked = torch.isfinite(own.z_depth)
        self.asked += int(is_asked.sum())
        self.fitting += int((is_asked & (total > 0.5) & ((z / own.z_depth - 1).abs() < _ONE_SURFACE)).sum())

    def require(self, lifted: LiftedScene, onto: Path) -> None:
        """Refuse splats that are elsewhere."""
        if self.asked > _FEWEST_PLACES and self.fitting < _LEAST_FITTING * self.asked:
            raise SceneFormatError(
                f"The splats of '{onto}' are where the views of '{lifted.name}' show a surface at "
                f"{self.fitting / self.asked:.0%} of their cells; expected {_LEAST_FITTING:.0%} at least. They may be "
                "in another world or unit, or of another scene: give those that were trained with these cameras."
            )


def _labels(view: LiftedView) -> Shaped[Tensor, " cell"]:
    """Return what a view says of each pixel, UNKNOWN_LABEL where it stands on nothing."""
    values, is_valid = view.prediction.values, view.prediction.is_valid
    return torch.where(is_valid, values if values.ndim == 2 else values.argmax(0), UNKNOWN_LABEL).flatten()


def _values(view: LiftedView, channels: slice) -> Float[Tensor, "cell channel"]:
    """Return channels of a prediction; NaN where it stands on nothing."""
    values = view.prediction.values.float()
    values = (values if values.ndim == 3 else values[None])[channels]
    return torch.where(view.prediction.is_valid, values, torch.nan).flatten(1).T


def _columns(file: SplatFile, gathered: _Gathered, is_seen: Bool[np.ndarray, " row"], kind: str) -> Columns:
    """Return columns of all rows: −1 and NaN, or the colours of before, of splats that are not seen."""
    weight = file.in_file(gathered.weight.numpy(), 0.0)
    columns: Columns = {}
    if gathered.votes:
        numbers = sorted(gathered.votes)
        most, place = torch.stack([gathered.votes[one] for one in numbers]).max(0)
        label = file.in_file(np.array(numbers, dtype=np.int32)[place.numpy()], UNKNOWN_LABEL)
        columns["label"] = np.where(is_seen, label, UNKNOWN_LABEL).astype(np.int32)
        columns["label_share"] = file.in_file((most / gathered.weight).numpy(), np.nan)
    elif gathered.sums:
        mean = torch.cat(gathered.sums, dim=1) / gathered.weight[:, None]
        means = np.where(is_seen[:, None], file.in_file(mean.numpy(), np.nan), np.nan).astype(np.float32)
        if kind == "image":
            columns |= file.coloured(means.clip(0, 1), is_seen)
        else:
            names = ["value"] if kind == "scalar" else [f"feature_{number}" for number in range(means.shape[1])]
            columns |= dict(zip(names, means.T, strict=True))
    columns["seen_weight"] = weight.astype(np.float32)
    return columns
