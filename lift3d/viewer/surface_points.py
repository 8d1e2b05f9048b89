"""The scene's one surface as the page draws it: points that views agree on, the coarser before the finer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from lift3d.domain.keys import ViewId
from lift3d.results.cloud import Cloud, SeenPoints, cells_at, read_points, surface_of, whole_grid
from lift3d.results.lifted_scene import LiftedScene
from lift3d.surface.cloud import surface_points
from lift3d.surface.scene_surface import SceneSurface

# What a scene with a hundred views of a quarter of a megapixel has; 15 MB on the way to the browser.
MOST_POINTS = 1_000_000
# Lattices by which points are put in order, each half as fine as the one before it.
LEVELS = 7
# Points are drawn so much wider than they are apart, so that no gap is left between them, but never so many spacings.
_FILLED, _WIDEST = 1.3, 8.0
# What a view says at an outline counts so much of what it says elsewhere.
_OUTLINE = 0.05
_GREY = 170.0

Photos = Mapping[ViewId, UInt8[Tensor, "3 height width"]]


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceCloud:
    """Points of the surface, in such an order that the first of them, however many, are spread evenly.

    Attributes:
        surface: Of the scene.
        cloud: Each point, and the view that shows it best.
        spacing: How far apart they are on the surface at least, world units.
        radius: With which it is drawn, world units.
        level: Of the order, from LEVELS down: points up to a level lie so many times two farther apart.
        views: How many views see it.
        photo: Its colour, the mean of the photographs that show it; None without any.
    """

    surface: SceneSurface
    cloud: Cloud
    spacing: float
    radius: Float[Tensor, " point"]
    level: UInt8[Tensor, " point"]
    views: Int[Tensor, " point"]
    photo: UInt8[Tensor, "point 3"] | None

    def __len__(self) -> int:
        return len(self.cloud)

    def of_views(self, count: int) -> tuple[Int[Tensor, " own"], ...]:
        """Return the points that each of so many views shows best."""
        view = self.cloud.view
        return torch.split(torch.argsort(view, stable=True), torch.bincount(view, minlength=count).tolist())


def surface_cloud(
    lifted: LiftedScene,
    targets: Sequence[ViewId],
    photos: Photos,
    most: int = MOST_POINTS,
    report: Callable[[int], None] = lambda done: None,
) -> SurfaceCloud:
    """Return points of a scene's surface that any of the targets sees, in the mean colours of their photographs.

    ``report`` is called with how many of the targets were asked.
    """
    surface = surface_of(lifted)
    points = surface_points(surface, most)
    count, names = len(points.xyz), iter(enumerate(targets))
    views, finest = torch.zeros(count, dtype=torch.int64), torch.zeros(count)
    colour, total = torch.zeros(count, 3), torch.zeros(count)

    def heed(seen: SeenPoints) -> None:
        done, target = next(names)
        report(done)
        photo, at, quality = photos.get(target), seen.index, seen.quality.float()
        views[at] += 1
        # Cells per unit of surface.
        finest[at] = finest[at].maximum(quality / (seen.depth.grid.stride_u * seen.depth.grid.stride_v))
        if photo is not None:
            weight = quality * torch.where(seen.is_outline, _OUTLINE, 1.0)
            cell = cells_at(whole_grid(seen.camera.size, *photo.shape[1:]), seen.uv)
            colour.index_add_(0, at, photo.flatten(1).T[cell].float() * weight[:, None])
            total.index_add_(0, at, weight)

    cloud = read_points(lifted, surface, points, targets, heed)
    kept = torch.nonzero(cloud.view >= 0)[:, 0]
    radius = (_FILLED / 2) * finest.rsqrt().clamp(points.spacing, _WIDEST * points.spacing)
    order, level = by_detail(cloud.xyz[kept], radius[kept])
    kept = kept[order]
    found = round(cloud.found * len(kept) / max(1, len(cloud)))
    chosen = Cloud(cloud.xyz[kept], cloud.normals[kept], cloud.view[kept], cloud.uv[kept], found)
    mean = torch.where(total[:, None] > 0, colour / total[:, None], _GREY).round().to(torch.uint8)[kept]
    return SurfaceCloud(surface, chosen, points.spacing, radius[kept], level, views[kept], mean if photos else None)


def by_detail(
    xyz: Float[Tensor, "point 3"], radius: Float[Tensor, " point"]
) -> tuple[Int[Tensor, " point"], UInt8[Tensor, " point"]]:
    """Return points in an order, and how coarse each is: the first of the order are spread evenly, as views see them.

    Of a level, points lie two to its power times their own width apart, as one of each cube of a lattice: what was seen
    from near has a finer one. What is still finer than that, of cubes that have their point, comes last.
    """
    count = len(xyz)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    level = np.zeros(count, dtype=np.uint8)
    if count:
        octave = (radius[order] / radius.amin()).log2().floor()
        width = 2 / _FILLED * float(radius.amin()) * octave.exp2()
        place = ((xyz[order] - xyz.amin(0)) / width[:, None]).clamp(max=2.0**19).numpy()
        for number in range(LEVELS):
            cube = (place / 2**number).astype(np.int64)
            key = (octave.numpy().astype(np.int64) << 60) | (cube[:, 0] << 40) | (cube[:, 1] << 20) | cube[:, 2]
            _, first = np.unique(key, return_index=True)
            level[first] = number + 1
    coarse_first = torch.from_numpy(np.argsort(-level.astype(np.int16), kind="stable"))
    return order[coarse_first], torch.from_numpy(level)[coarse_first]
