"""Scene geometry from depth maps in a folder, as nerfstudio, DUSt3R, MonoSDF and SLAM systems write them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lift3d.domain.proposals import SourceGuide
from lift3d.domain.scene import DepthRange, Tracks
from lift3d.domain.scene_geometry import SceneGeometry
from lift3d.errors import SceneFormatError
from lift3d.geometry.rays import cell_centers, directions_z1
from lift3d.scenes.depth_folder import maps_by_view
from lift3d.scenes.file_frame import FileFrame
from lift3d.scenes.images import decode_map
from lift3d.surface.agreement import agreed
from lift3d.surface.catalog import DEPTHS
from lift3d.surface.depth_map import given_grid
from lift3d.surface.file_geometry import FileGeometry
from lift3d.surface.frame_check import ReadSurface
from lift3d.surface.held import held
from lift3d.surface.sensor import sensed

# Of whole numbers, as nerfstudio has it.
_MILLIMETRE = 0.001


class DepthsGeometry(FileGeometry):
    """Depth maps by the names of the views, moved to what the other views say; views without one stay unknown.

    ``unit`` is world units per number of a map: 0 is 1 of floats, and a thousandth of whole numbers. ``is_ray`` says
    that maps hold the distance along the ray; else it is z-depth.
    """

    spec = DEPTHS

    def __init__(self, path: Path, *, unit: float = 0.0, is_ray: bool = False) -> None:
        super().__init__(path)
        self._unit, self._is_ray = unit, is_ray

    def estimate(
        self, views: Sequence[SourceGuide], depth_range: DepthRange, find_tracks: Callable[[], Tracks]
    ) -> SceneGeometry:
        """Return what the maps say where other views agree; SceneFormatError if they do not fit the views."""
        return agreed(super().estimate(views, depth_range, find_tracks))

    def _read(self, views: Sequence[SourceGuide], near: float) -> ReadSurface:
        """Return the views' own maps, which do not hang on ``near``."""
        if not self._path.is_dir():
            raise SceneFormatError(f"'{self._path.name}' is no folder of depth maps.")
        maps = maps_by_view(self._path, [view.id for view in views])
        own = (replace(view, z_depth=self._z_depth(view, maps[view.id]) if view.id in maps else None) for view in views)
        cell_count = sum(given_grid(view.camera.size).cell_count for view in views)
        return ReadSurface(held(((view.id, sensed(view)) for view in own), cell_count), reads_rays=self._is_ray)

    def _z_depth(self, view: SourceGuide, path: Path) -> Float[Tensor, "height width"]:
        """Read a map as its view sees it."""
        kind = decode_map(path).dtype
        if kind.kind in "bui" and kind.itemsize == 1:
            raise SceneFormatError(
                f"'{path.name}' holds 8-bit numbers: a picture of depth, not depth. Export it as .npy or 16-bit PNG."
            )
        unit = self._unit or (_MILLIMETRE if kind.kind in "ui" else 1.0)
        size = view.camera.size
        with torch.device("cpu"):
            found = FileFrame("", depth=str(path), depth_scale=unit).load_depth(view.camera, size)
            if found is None:
                raise SceneFormatError(f"'{path.name}' holds no depth.")
            if self._is_ray:
                uv = cell_centers(size.height, size.width).double()
                found = found / directions_z1(uv, view.camera.K).norm(dim=-1).float()
        return found.to(view.is_valid.device)
