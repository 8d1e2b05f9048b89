"""A scene that was read, as it is placed on the page: shared by all browsers that look at it."""

import threading
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lift3d.results.lifted_scene import LiftedScene
from lift3d.viewer.choice import Choice, Filter
from lift3d.viewer.labels import Labels
from lift3d.viewer.mesh import COARSE, FINE, PageMesh
from lift3d.viewer.picture import raster_points
from lift3d.viewer.raster import RasterPoints
from lift3d.viewer.transform import ViewerTransform, viewer_transform
from lift3d.viewer.viewed_scene import Colouring, ViewedScene

# Of the points, as many lie beyond the sliders of the crop box on either side; and page units before these.
_FAR_OUT, _ASIDE = 0.002, 0.02


@dataclass(frozen=True, eq=False)
class Stage:
    """A viewed scene and where the page has it; ``things`` are masks, once somebody has looked for them.

    ``placed`` is where another stage of the same scene has it, if there is one.
    """

    lifted: LiftedScene
    viewed: ViewedScene
    placed: ViewerTransform | None = None
    things: list[Labels] = field(default_factory=list)
    _meshes: dict[int, PageMesh] = field(default_factory=dict)
    _meshing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        # Worked out before a browser waits for it.
        _ = self.points, self.upright

    @cached_property
    def to_page(self) -> ViewerTransform:
        """From the world to the page."""
        return self.placed or viewer_transform(self.viewed.cloud.xyz, self.viewed.cameras, self.viewed.surface.views)

    @cached_property
    def points(self) -> RasterPoints:
        """All points, in page coordinates."""
        return raster_points(self.viewed, self.to_page)

    @property
    def has_fine_mesh(self) -> bool:
        """Whether all triangles are there."""
        return FINE in self._meshes

    def mesh(self, most: int = COARSE) -> PageMesh:
        """Return the finest triangles that are there, of so many spots at least; NoOverlapError if there are none."""
        # Who takes what is there does not wait for what is being made.
        if max(self._meshes, default=0) < most:
            with self._meshing:
                if most not in self._meshes:
                    self._meshes[most] = PageMesh.of(self.viewed.surface, most)
        return self._meshes[max(self._meshes)]

    @property
    def keyframes(self) -> tuple[str, ...]:
        """Ids of the views that own the surface."""
        surface = self.viewed.surface.surface
        return tuple(surface.ids[place] for place in surface.keyframes)

    @cached_property
    def upright(self) -> Float[Tensor, "3 3"]:
        """Axes of the crop box, rows, in page coordinates: right and ahead of the first look, level, and up."""
        up = self.to_page.up.float()
        ahead = -self.to_page.eye.float()
        ahead = torch.nn.functional.normalize(ahead - (ahead @ up) * up, dim=0)
        return torch.stack([torch.linalg.cross(ahead, up), ahead, up])

    def is_shown(self, shown: Filter, labels: Labels | None, hidden: Collection[int]) -> Bool[Tensor, " point"]:
        """Return which points are shown: seen often and surely enough, in the box, of no label that is hidden."""
        is_kept = self.viewed.surface.views >= shown.least_views
        if shown.least_confidence > 0:
            # Where nobody tells how sure it is, nothing is left out.
            is_kept &= ~(self.viewed.confidence_of_points() < shown.least_confidence)
        for axis, (low, high) in zip(self.upright, (shown.x, shown.y, shown.z), strict=True):
            if (low, high) != self.bounds:
                place = axis @ self.points.xyz
                is_kept &= (place >= low) & (place <= high)
        if labels is not None and hidden:
            is_kept &= ~torch.isin(labels.ids, torch.tensor(sorted(hidden), dtype=labels.ids.dtype))
        return is_kept

    def fitting(self, choice: Choice) -> Choice:
        """Return a choice of what there is; of another place neither the eye nor the box means anything here."""
        one, viewed = self.lifted, self.viewed
        if (choice.run, choice.scene) != (one.recipe.run_id, one.name):
            shown = Filter(choice.shown.least_views, choice.shown.least_confidence)
            choice = replace(choice, eye=None, shown=shown)
        return replace(
            choice,
            run=one.recipe.run_id,
            scene=one.name,
            operator=one.operator,
            lifter=one.lifter,
            colouring=choice.colouring if choice.colouring in self.colourings else viewed.colourings[0],
            is_lifted=choice.is_lifted or viewed.plain is None,
        )

    @property
    def colourings(self) -> tuple[Colouring, ...]:
        """What can be shown."""
        return (*self.viewed.colourings, "things") if self.things else self.viewed.colourings

    @cached_property
    def extent(self) -> list[tuple[float, float]]:
        """From where to where the points lie along each axis of the crop box, but for the few far out."""
        some = self.points.xyz[:, :: max(1, len(self.points.index) // 50_000)]
        if not some.shape[1]:
            return [self.bounds] * 3
        ends = torch.quantile(self.upright @ some, torch.tensor([_FAR_OUT, 1 - _FAR_OUT]), dim=1).T.tolist()
        # Read by people.
        return [(round(low - _ASIDE, 2), round(high + _ASIDE, 2)) for low, high in ends]

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the crop box, either way: nothing is cut off."""
        return Filter().x
