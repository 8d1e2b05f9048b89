"""What is looked at: one operator's answers in one scene, ready to be coloured."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from lift3d.domain.camera import Camera
from lift3d.results.cloud import Cloud
from lift3d.viewer.answers import Answers
from lift3d.viewer.surface_points import Photos, SurfaceCloud
from lift3d.viewer.view_slices import ViewSlice

Picture8 = NDArray[np.uint8]
Colouring = Literal["photo", "features", "prediction", "confidence", "depth", "views", "owner", "things"]

GREY = 170


@dataclass(frozen=True, eq=False)
class ViewedScene:
    """One operator's answers in one scene, ready to be coloured. Reads nothing any more.

    ``photos`` has those that can still be read, ``plain`` is None where the run has none, as for novel cameras, and
    ``names`` are those of the labels. The store holds ``view_count`` views; no more than the first few hundred, evenly,
    are shown. Of a sketch others are yet to come.
    """

    slices: tuple[ViewSlice, ...]
    surface: SurfaceCloud
    photos: Photos
    lifted: Answers
    plain: Answers | None
    kind: str
    names: Mapping[int, str]
    view_count: int
    is_sketch: bool = False

    def __post_init__(self) -> None:
        # Worked out before the first click rather than at it.
        _ = self.point_cells, self.pixel_cells

    @property
    def cloud(self) -> Cloud:
        """The points, and which view answers for each."""
        return self.surface.cloud

    @property
    def cameras(self) -> list[Camera]:
        """Of the views."""
        return [place.camera for place in self.slices]

    @property
    def feature_bytes(self) -> int:
        """Memory that features take."""
        return sum(one.unit.nbytes for one in (self.lifted, self.plain) if one is not None)

    @property
    def colourings(self) -> tuple[Colouring, ...]:
        """What can be shown: no photo where there is none, no prediction where it is the features."""
        possible: dict[Colouring, bool] = {
            "photo": bool(self.photos),
            "features": True,
            "prediction": self.kind != "embedding",
            "confidence": bool(torch.isfinite(self.lifted.confidence).any()),
            "depth": True,
            "views": True,
            "owner": True,
        }
        return tuple(one for one, is_there in possible.items() if is_there)

    @property
    def has_labels(self) -> bool:
        """Whether the answers are labels, which have names and can be hidden."""
        return self.kind in ("labels", "masks")

    def answers(self, is_lifted: bool) -> Answers:
        """Return the answers of a kind; the lifted ones where there are no others."""
        return self.lifted if is_lifted or self.plain is None else self.plain

    def confidence_of_points(self) -> Float[Tensor, " point"]:
        """Return how sure the lifted answer is at each point; NaN where nobody tells."""
        return self.lifted.confidence[self.point_cells].float()

    @cached_property
    def point_cells(self) -> Int[Tensor, " point"]:
        """The cell of each point of the cloud, in the view that shows it best."""
        found = torch.zeros(len(self.cloud), dtype=torch.int64)
        for place, own in zip(self.slices, self.surface.of_views(len(self.slices)), strict=True):
            found[own] = place.cells_at(self.cloud.uv[own])
        return found

    @cached_property
    def pixel_cells(self) -> Int[Tensor, " pixel"]:
        """The cell that each pixel of the small pictures shows."""
        return torch.cat([place.cells_at(place.pixel_centers()).flatten() for place in self.slices])

    @cached_property
    def distances(self) -> Float[Tensor, " point"]:
        """How far each point is from the camera that shows it best."""
        centers = torch.stack([one.center for one in self.cameras])
        apart: Tensor = (self.cloud.xyz - centers[self.cloud.view]).norm(dim=1).float()
        return apart

    @cached_property
    def distance_limits(self) -> tuple[float, float]:
        """Between which the distances lie, but for the few far out."""
        known = self.distances[:: max(1, len(self.distances) // 50_000)]
        near, far = (float(known.quantile(share)) for share in (0.02, 0.98)) if len(known) else (0.0, 1.0)
        return near, max(far, near + 1e-9)

    @cached_property
    def photo_pixels(self) -> UInt8[Tensor, "pixel 3"]:
        """The photographs as small pictures; grey where one cannot be read."""
        pictures = []
        for place in self.slices:
            photo, size = self.photos.get(place.target), (place.picture.height, place.picture.width)
            small = torch.full((3, *size), GREY, dtype=torch.uint8)
            if photo is not None:
                wide = torch.nn.functional.interpolate(photo[None].float(), size, mode="area")[0]
                small = wide.round().to(torch.uint8)
            pictures.append(small.flatten(1).T)
        return torch.cat(pictures)
